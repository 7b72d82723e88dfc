"""Every format read back by a public reader."""

import csv
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodstream.sinks.export import FORMATS, export
from moodstream.sinks.exported import safe_name
from moodstream.sinks.lake import LakeSink
from moodstream.sinks.read import Lake
from moodstream.transforms.errors import MissingExtraError, StoreError, UsageError

ODD = [
    "../../etc/passwd",
    "a\nb",
    "🎵",
    "a/b",
    "a_b",
    "A_B",
    "q\"u'o",
    "..",
    ".hidden",
    "x" * 300,
    "sp ace",
    "<b>&",
]


@pytest.fixture(scope="module")
def lake(tmp_path_factory, commit):
    sink = LakeSink(tmp_path_factory.mktemp("lake"))
    sink.open()
    sink.write(commit("song.mp3", cells=12))
    sink.write(commit("call", cells=9, channels=("agent", "customer"), modalities=("speech",), kind="call"))
    for name in ODD:
        sink.write(commit(name, cells=4))
    sink.flush()
    return Lake(sink.path)


# the episodes of `song.mp3` as conftest makes them
SONG = [(0.0, 3.0, "happiness"), (3.0, 6.0, "sadness")]


def test_jams(lake, tmp_path):
    jams = pytest.importorskip("jams")
    (path,) = export(lake, "jams", tmp_path, ["song.mp3"])
    jam = jams.load(str(path), validate=True, strict=True)
    assert jam.file_metadata.duration == 6.0
    assert jam.file_metadata.identifiers.media_id == "song.mp3"
    (segments,) = jam.search(namespace="segment_open")
    assert [(o.time, o.time + o.duration, o.value) for o in segments] == SONG
    assert [o.confidence for o in segments] == [pytest.approx(0.8)] * 2
    (mood,) = jam.search(namespace="mood_thayer")
    assert len(mood.data) == 11  # twelve cells, one of them silent
    assert mood.data[0].value == [pytest.approx(1.0), pytest.approx(0.0)]
    assert (mood.sandbox.channel, mood.sandbox.modality) == ("mix", "fused")


def test_rttm(lake, tmp_path):
    """pyannote.core holds it; its fields stand where pyannote.database's `load_rttm` looks for them."""
    core = pytest.importorskip("pyannote.core")
    song, call = export(lake, "rttm", tmp_path, ["song.mp3", "call"])
    annotation = core.Annotation(uri="song.mp3")
    for number, line in enumerate(song.read_text().splitlines()):
        kind, uri, channel, start, length, _, _, label, _, _ = line.split()
        assert (kind, uri, channel) == ("SPEAKER", "song.mp3", "1")
        annotation[core.Segment(float(start), float(start) + float(length)), number] = label
    assert [(s.start, s.end, label) for s, _, label in annotation.itertracks(yield_label=True)] == SONG
    assert annotation.to_rttm().split()[:5] == song.read_text().split()[:5]
    assert {line.split()[2] for line in call.read_text().splitlines()} == {"1", "2"}


def test_sed(lake, tmp_path):
    mir_eval = pytest.importorskip("mir_eval")
    song, agent, customer = export(lake, "sed", tmp_path, ["song.mp3", "call"])
    intervals, labels = mir_eval.io.load_labeled_intervals(str(song), delimiter="\t")
    assert [(*span, label) for span, label in zip(intervals.tolist(), labels, strict=True)] == SONG
    assert (agent.name, customer.name) == ("call.agent.txt", "call.customer.txt")
    assert mir_eval.io.load_labeled_intervals(str(agent), delimiter="\t")[1] == ["happiness", "sadness"]


def test_textgrid(lake, tmp_path):
    textgrid = pytest.importorskip("praatio.textgrid")
    song, call = export(lake, "textgrid", tmp_path, ["song.mp3", "call"])
    grid = textgrid.openTextgrid(str(song), includeEmptyIntervals=False)
    assert grid.tierNames == ("mix",)
    assert [tuple(entry) for entry in grid.getTier("mix").entries] == SONG
    assert textgrid.openTextgrid(str(call), includeEmptyIntervals=False).tierNames == ("agent", "customer")


def test_webvtt(lake, tmp_path):
    webvtt = pytest.importorskip("webvtt")
    song, call = export(lake, "webvtt", tmp_path, ["song.mp3", "call"])
    cues = webvtt.read(str(song)).captions
    assert [(c.start_in_seconds, c.end_in_seconds, c.text.split()[0]) for c in cues] == SONG
    assert {c.voice for c in webvtt.read(str(call)).captions} == {"agent", "customer"}


def test_audformat(lake, tmp_path):
    audformat = pytest.importorskip("audformat")
    export(lake, "audformat", tmp_path)
    database = audformat.Database.load(str(tmp_path))
    assert sorted(database.tables) == [
        "curve", "curve.agent", "curve.customer", "episodes", "episodes.agent", "episodes.customer",
    ]  # fmt: skip
    found = database["episodes"].get().reset_index()
    mine = found[found["file"] == "song.mp3"]
    assert [
        (start.total_seconds(), end.total_seconds(), emotion)
        for start, end, emotion in zip(mine["start"], mine["end"], mine["emotion"], strict=True)
    ] == SONG
    assert set(database["curve"].files) == {"song.mp3", *ODD}
    assert database["curve"].get()["valence"].between(-1, 1).sum() == 11 + 3 * len(ODD)


def test_csv(lake, tmp_path):
    curve, episodes = export(lake, "csv", tmp_path, ["song.mp3"])
    rows = list(csv.DictReader(curve.open(newline="", encoding="utf-8")))
    assert len(rows) == 12
    assert (rows[0]["valence"], rows[0]["score_happiness"], rows[0]["modalities"]) == ("1.0", "0.75", "fused")
    assert (rows[6]["valence"], rows[6]["score_happiness"], rows[6]["reason"]) == ("", "", "silence")
    assert [r["emotion"] for r in csv.DictReader(episodes.open(newline="", encoding="utf-8"))] == [
        "happiness",
        "sadness",
    ]


@pytest.mark.parametrize("form", FORMATS)
def test_no_name_leads_out_of_the_folder_or_onto_another(lake, tmp_path, form):
    before = set(tmp_path.rglob("*"))
    files = export(lake, form, tmp_path / "out")
    assert all(path.parent == tmp_path / "out" and path.is_file() for path in files)
    assert set(tmp_path.rglob("*")) - before == {tmp_path / "out", *files}
    folded = [unicodedata.normalize("NFC", path.name).casefold() for path in files]
    assert len(set(folded)) == len(folded)
    if form not in ("audformat", "sed", "csv"):
        assert len(files) == len(ODD) + 2


@given(st.lists(st.text(min_size=1), min_size=2, unique=True))
def test_safe_names_are_safe_and_differ(names):
    made = [safe_name(name) for name in names]
    assert len({name.casefold() for name in made}) == len(names)
    for name in made:
        assert not set(name) & set("/\\\n\0 :\"'<>|?*")
        assert name.strip(".") == name
        assert len(name.encode()) < 240


def test_one_modality_on_request(lake, tmp_path):
    (path,) = export(lake, "jams", tmp_path, ["song.mp3"], modality="music")
    assert '"modality": "music"' in path.read_text()


def test_wrong_use(lake, tmp_path):
    with pytest.raises(UsageError, match="no format is called 'midi'"):
        export(lake, "midi", tmp_path)
    with pytest.raises(UsageError, match="has no media 'nobody'"):
        export(lake, "csv", tmp_path / "new", ["nobody"])
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot export"):
        export(lake, "csv", tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("form", "module"), [("jams", "jams"), ("textgrid", "praatio.textgrid"), ("audformat", "audformat")]
)
def test_a_missing_library_names_the_extra(lake, tmp_path, monkeypatch, form, module):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'moodstream\[exports\]'"):
        export(lake, form, tmp_path)
