"""The page: what is in it, and that a real browser draws it without a complaint and without the network."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from moodstream.models.base import Notes
from moodstream.pipelines import player, report, view
from moodstream.transforms.errors import UsageError

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-logging=stderr --window-size=1200,900"
)


def _data(page: Path) -> dict:
    text = page.read_text()
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL).group(1))


@pytest.fixture(scope="session")
def page(small_lake, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("page") / "page.html"
    report.write_report(small_lake, small_lake.media_ids(), file, title="demo </script><b>")
    return file


def _browse(page: Path, tmp_path: Path, probe: str = "") -> str:
    """The page's DOM after it ran, with a script of the test added at its end."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    file = tmp_path / "probed.html"
    file.write_text(page.read_text().replace("</body>", f"<script>{probe}</script></body>"))
    command = [CHROMIUM, *FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*command, "--virtual-time-budget=5000", "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert "data-error" not in done.stdout[:2000]
    return done.stdout


def test_the_numbers_of_the_rows_are_in_the_page(small_lake, page):
    song = _data(page)["media"][0]
    rows = [row for row in small_lake.all["curve"] if row.media_id == "song.wav" and row.modality == "fused"]
    assert song["tracks"][0]["mean"]["valence"] == [
        None if row.valence is None else pytest.approx(row.valence, abs=0.0051) for row in rows
    ]
    episodes = [
        row for row in small_lake.all["episode"] if row.media_id == "song.wav" and row.modality == "fused"
    ]
    assert [(e["start"], e["end"]) for e in song["tracks"][0]["episodes"]] == [
        (e.start_ms, e.end_ms) for e in episodes
    ]
    assert set(song["tracks"][0]["activity"]) == {"m", "_"}


def test_nothing_is_loaded_and_no_name_becomes_markup(page):
    text = page.read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)
    assert text.count("</script>") == 2
    assert "<b>song" not in text


def test_a_browser_draws_every_episode_and_both_curves(small_lake, page, tmp_path):
    dom = _browse(page, tmp_path)
    shown = [row for row in small_lake.all["episode"] if row.modality in ("fused", "speech", "symbolic")]
    assert dom.count('class="episode"') == len(shown)
    for dimension in ("valence", "arousal"):
        assert dom.count(f'class="line {dimension}"') >= 3
    assert dom.count('class="gap"') >= 1
    assert "No emotions are estimated for this role" in dom
    assert html.escape("A <b>song</b>") in dom
    assert dom.count('class="alerts"') == 1
    assert f"<b>{html.escape('angry <customer>')}</b>" in dom


def test_a_click_seeks_and_a_drag_zooms(page, tmp_path):
    probe = """
      const go = () => {
        const m = media[0], svg = m.lanes[0].svg, r = svg.getBoundingClientRect();
        svg.setPointerCapture = () => {};
        const fire = (type, ms) => svg.dispatchEvent(new PointerEvent(type,
          { clientX: r.left + m.lanes[0].x(ms), clientY: r.top + 50, bubbles: true, pointerId: 1 }));
        fire("pointerdown", 30000); fire("pointermove", 30000); fire("pointerup", 30000);
        document.body.dataset.now = m.player.currentTime;
        document.body.dataset.tip = document.getElementById("tip").textContent;
        fire("pointerdown", 10000); fire("pointermove", 20000); fire("pointerup", 20000);
        document.body.dataset.view = m.view.map(Math.round).join();
      };
      media[0].player.readyState > 0 ? go() : media[0].player.addEventListener("loadedmetadata", go);
    """
    dom = _browse(page, tmp_path, probe)
    told = dict(re.findall(r'data-(now|tip|view)="([^"]*)"', dom))
    assert float(told["now"]) == pytest.approx(30, abs=0.1)
    assert told["tip"].startswith("0:30.0")
    assert "valence" in told["tip"]
    start, end = map(int, told["view"].split(","))
    assert (start, end) == (pytest.approx(10_000, abs=150), pytest.approx(20_000, abs=150))


def test_a_missing_media_is_a_usage_error_and_no_page_is_written(small_lake, tmp_path):
    with pytest.raises(UsageError, match="no media"):
        report.write_report(small_lake, ["nope"], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_ten_hours_make_a_page_of_reasonable_size(small_lake):
    song = view.load(small_lake, "song.wav")
    track, repeat = song.tracks[0], 600
    for name in ("mean", "std"):
        setattr(track, name, np.tile(getattr(track, name), (repeat, 1)))
    for name in ("loudness_lufs", "top_score"):
        setattr(track, name, np.tile(getattr(track, name), repeat))
    for name in ("activity", "reason", "top"):
        setattr(track, name, getattr(track, name) * repeat)
    song.tracks = [track]
    sound = len(report.payload(song)["player"]["src"])
    assert len(report.render([song], "long")) - sound < 4_000_000


# ---------------------------------------------------------------- the player


def _sound(seconds: float = 1.0) -> np.ndarray:
    return (0.3 * np.sin(np.arange(int(44_100 * seconds)) / 20)).astype(np.float32)[None]


def _write(path: Path, codec: str, samples: np.ndarray) -> Path:
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=44_100, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16), "s16", "mono")
        frame.sample_rate = 44_100
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "mime", "note"),
    [
        ("a.wav", "pcm_s16le", "audio/wav", ""),
        ("a.flac", "flac", "audio/flac", ""),
        ("a.aiff", "pcm_s16be", "audio/mpeg", "made from the file"),
    ],
)
def test_what_browsers_play_goes_in_and_the_rest_is_recoded(tmp_path, name, codec, mime, note):
    path = _write(tmp_path / name, codec, _sound())
    made = player.player([str(path)], 1.0)
    assert made.src.startswith(f"data:{mime};base64,")
    assert note in made.note
    assert made.name == name


def test_bulky_sound_is_recoded_and_a_long_one_is_named(tmp_path, monkeypatch):
    path = _write(tmp_path / "a.wav", "pcm_s16le", _sound(3))
    monkeypatch.setattr(player, "BULKY_BYTES", 1000)
    assert player.player([str(path)], 3.0).src.startswith("data:audio/mpeg")
    made = player.player([str(path)], 100_000.0)
    assert made.src == "a.wav"
    assert "keep the file beside it" in made.note


def test_the_suffix_does_not_decide(tmp_path):
    path = tmp_path / "a.mp3"
    path.write_text("not sound at all\n" * 100)
    assert player.player([str(path)], 1.0).src is None
    assert "not where it was" in player.player(["s3://bucket/a.mp3"], 1.0).note


def test_relative_paths_are_looked_for_beside_the_lake(tmp_path):
    _write(tmp_path / "a.wav", "pcm_s16le", _sound())
    assert player.player(["a.wav"], 1.0).src is None
    assert player.player(["a.wav"], 1.0, tmp_path).src.startswith("data:")


def test_notes_become_tones_at_their_pitch_and_time():
    one = Notes(
        start_s=np.array([0.5]), end_s=np.array([1.5]), pitch=np.array([69], np.int16),
        velocity=np.array([100], np.int16), program=np.zeros(1, np.int16), drum=np.zeros(1, bool),
        bars_s=np.zeros(1), end_of_media_s=2.0,
    )  # fmt: skip
    samples = player.synthesize(one, 8000)
    assert not samples[:4000].any()
    spectrum = np.abs(np.fft.rfft(samples[4000:12000]))
    assert spectrum.argmax() == 440
    assert np.abs(samples).max() == pytest.approx(0.7)


def test_a_midi_file_can_be_heard(tmp_path):
    import pretty_midi

    midi = pretty_midi.PrettyMIDI()
    piano = pretty_midi.Instrument(0)
    piano.notes.append(pretty_midi.Note(90, 60, 0.0, 1.0))
    midi.instruments.append(piano)
    midi.write(str(tmp_path / "a.mid"))
    made = player.player([str(tmp_path / "a.mid")], 1.0)
    assert made.src.startswith("data:audio/mpeg")
    assert "plain tones" in made.note
