"""Finding media: what is taken, what it is called, what belongs together, what is refused before any work."""

import hashlib
import json
import os
import socket
from pathlib import Path

import fsspec
import pytest

from moodstream.transforms.elements import Media, Part
from moodstream.transforms.errors import MissingExtraError, ReadError, UsageError
from moodstream.transforms.read import content_hash, find_media, kind_of, open_bytes, size_of
from tests.support.bad_inputs import ODD_NAMES


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode(errors="surrogateescape"))
    return folder


def ids(media: list[Media]) -> list[str]:
    return [one.media_id for one in media]


def test_folders_are_searched_for_what_can_be_media(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "b.MP3",
        "a/deep/er.wav",
        "film.mkv",
        "notes.mid",
        "readme.txt",
        "cover.jpg",
        "._b.mp3",
        "c.tar.mp3",
    )
    (tmp_path / "folder.mp3").mkdir()
    os.mkfifo(tmp_path / "pipe.wav")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(os.path.relpath(tmp_path / "socket.wav"))
    found = find_media([tmp_path])
    assert sorted(ids(found)) == ["a/deep/er.wav", "b.MP3", "c.tar.mp3", "film.mkv", "notes.mid"]
    kinds = {one.media_id: one.parts[0].kind for one in found}
    assert kinds["film.mkv"] == "video"
    assert kinds["notes.mid"] == "midi"
    assert {one.parts[0].source for one in found} >= {str(tmp_path / "a/deep/er.wav")}


def test_named_files_are_taken_whatever_they_are_called(tmp_path: Path) -> None:
    touch(tmp_path, "take one", "song.dat")
    assert ids(find_media([tmp_path / "take one", str(tmp_path / "song.dat")])) == ["take one", "song.dat"]


def test_ids(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.mp3", "y/b.mp3")
    assert ids(find_media([tmp_path])) == ["x/a.mp3", "y/b.mp3"]
    assert ids(find_media([tmp_path / "x", tmp_path / "y"])) == ["a.mp3", "b.mp3"]
    assert ids(find_media([tmp_path / "x/../y/b.mp3"])) == ["b.mp3"]
    assert ids(find_media([tmp_path], id="stem")) == ["a", "b"]
    hashed = find_media([tmp_path], id="hash")
    assert ids(hashed) == [hashlib.sha256(name).hexdigest()[:16] for name in (b"x/a.mp3", b"y/b.mp3")]
    assert [one.content_hash for one in hashed] == [content_hash(one) for one in hashed]


def test_globs(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.mp3", "x/b.wav", "y/deep/c.mp3", "x/[1].mp3")
    assert ids(find_media([tmp_path / "*/*.mp3"])) == ["x/[1].mp3", "x/a.mp3"]
    assert ids(find_media([f"{tmp_path}/**/*.mp3"])) == ["x/[1].mp3", "x/a.mp3", "y/deep/c.mp3"]
    assert ids(find_media([tmp_path / "x/[1].mp3"])) == ["[1].mp3"]  # there is such a file


@pytest.mark.parametrize(
    "name", [*ODD_NAMES, b"latin \xe9.wav".decode(errors="surrogateescape"), "...and so on.wav"]
)
def test_odd_names(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    for found in (find_media([tmp_path]), find_media([tmp_path / name])):
        (media,) = found
        assert media.media_id == name.encode(errors="surrogateescape").decode(errors="replace")
        media.parts[0].source.encode()  # rows are text
        with open_bytes(media.parts[0].source) as file:
            assert file.read() == name.encode(errors="surrogateescape")


def test_a_recording_and_its_midi_are_one(tmp_path: Path) -> None:
    touch(tmp_path, "song.mid", "song.mp3", "other/song.mid", "lone.mid", "two.mp3", "two.wav", "two.mid")
    found = {one.media_id: [part.kind for part in one.parts] for one in find_media([tmp_path])}
    assert found == {
        "song.mp3": ["audio", "midi"],
        "other/song.mid": ["midi"],
        "lone.mid": ["midi"],
        "two.mp3": ["audio"],  # which of the two the notes belong to, nobody knows
        "two.wav": ["audio"],
        "two.mid": ["midi"],
    }
    assert len(find_media([tmp_path], pair=False)) == 7
    assert ids(find_media([tmp_path / "song.mid", tmp_path / "song.mp3"])) == ["song.mp3"]


def test_a_file_that_is_named_twice_is_taken_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp3", "b.mp3")
    assert ids(find_media([tmp_path, tmp_path / "a.mp3", f"{tmp_path}/./b.mp3"])) == ["a.mp3", "b.mp3"]


def test_channels_and_roles_go_to_what_sounds(tmp_path: Path) -> None:
    touch(tmp_path, "call.wav", "piece.mid")
    call, piece = find_media([tmp_path], channels="split", roles=("agent", "customer"))
    assert (call.split, call.roles) == (True, ("agent", "customer"))
    assert (piece.split, piece.roles) == (False, ())


# ---------------------------------------------------------------- refused before any work


def test_two_that_would_share_an_id(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.mp3", "y/a.mp3")
    with pytest.raises(UsageError, match=r"share the id 'a.mp3'.*x/a.mp3.*y/a.mp3"):
        find_media([tmp_path / "x", tmp_path / "y"])
    with pytest.raises(UsageError, match="share the id 'a'"):
        find_media([tmp_path], id="stem")


def test_missing_paths_are_all_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp3")
    with pytest.raises(UsageError, match=r"gone.mp3.*nothing\*"):
        find_media([tmp_path, tmp_path / "gone.mp3", tmp_path / "nothing*"])


def test_an_empty_path_is_not_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.mp3")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="an empty path"):
        find_media([""])
    assert len(find_media(["."])) == 1


def test_nothing_to_do_and_wrong_words(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt")
    with pytest.raises(UsageError, match="no media found"):
        find_media([tmp_path])
    with pytest.raises(UsageError, match="'name'"):
        find_media([tmp_path], id="name")


# ---------------------------------------------------------------- what cannot be read stays


def test_broken_links_and_closed_doors_become_media(tmp_path: Path) -> None:
    touch(tmp_path, "good.mp3")
    (tmp_path / "broken.mp3").symlink_to("nowhere")
    found = find_media([tmp_path])
    assert sorted(ids(found)) == ["broken.mp3", "good.mp3"]
    with pytest.raises(ReadError, match="points to nothing") as caught:
        content_hash(found[ids(found).index("broken.mp3")])
    assert caught.value.error == "missing"
    assert ids(find_media([tmp_path / "broken.mp3"], id="hash")) == ["broken.mp3"]
    with pytest.raises(ReadError) as caught:
        open_bytes(str(tmp_path))
    assert caught.value.error == "unreadable"
    if Path("/proc/self/mem").exists():
        with pytest.raises(ReadError) as caught:
            content_hash(Media("mem", (Part("/proc/self/mem", "audio"),)))
        assert caught.value.error == "unreadable"


def test_a_folder_that_cannot_be_listed_becomes_media(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may list every folder")
    touch(tmp_path, "good.mp3", "closed/a.mp3")
    (tmp_path / "closed").chmod(0)
    found = ids(find_media([tmp_path]))
    (tmp_path / "closed").chmod(0o700)
    assert found == ["good.mp3", "closed"]


# ---------------------------------------------------------------- manifests


def test_manifest(tmp_path: Path) -> None:
    touch(tmp_path, "rec/one.wav", "notes/eins.mid", "call.wav", "more.mp3")
    manifest = tmp_path / "list.csv"
    manifest.write_text(
        "media_id,path,offset_ms,roles,channels,comment\n"
        "piece,notes/eins.mid,250,,,x\n"
        "piece,rec/one.wav,,,,y\n"
        'call 1,call.wav,,"agent, customer",split,z\n'
    )
    piece, call, more = find_media([tmp_path], manifest=manifest)
    assert piece.media_id == "piece"
    assert [(part.kind, part.offset_ms) for part in piece.parts] == [("audio", 0), ("midi", 250)]
    assert (call.media_id, call.roles, call.split) == ("call 1", ("agent", "customer"), True)
    assert more.media_id == "more.mp3"
    assert find_media([], manifest=manifest) == [piece, call]
    lines = tmp_path / "list.jsonl"
    lines.write_text(
        json.dumps({"media_id": "piece", "path": "rec/one.wav"})
        + "\n\n"
        + json.dumps({"media_id": "piece", "path": str(tmp_path / "notes/eins.mid"), "offset_ms": 250})
        + "\n"
        + json.dumps(
            {"media_id": "call 1", "path": "call.wav", "roles": ["agent", "customer"], "channels": "split"}
        )
    )
    assert find_media([], manifest=lines) == [piece, call]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path\na.wav\n", "line 2 has no media_id"),
        ("media_id,path\n", "no lines"),
        ("media_id,path,offset_ms\nx,a.wav,soon\n", "line 2: offset_ms is 'soon'"),
        ("media_id,path,channels\nx,a.wav,left\n", "channels 'left'"),
        ("media_id,path\nx,gone.wav\n", "gone.wav"),
        ("media_id,path\nx,a.wav\nx,b.wav\n", "several recordings"),
    ],
)
def test_manifests_that_make_no_sense(tmp_path: Path, text: str, message: str) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        find_media([], manifest=tmp_path / "list.csv")


def test_manifests_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the manifest"):
        find_media([], manifest=tmp_path / "gone.csv")
    (tmp_path / "list.jsonl").write_text("[1]\n")
    with pytest.raises(UsageError, match=r"line 1 is '\[1\]', not an object"):
        find_media([], manifest=tmp_path / "list.jsonl")
    (tmp_path / "list.jsonl").write_text('{"media_id": \n')
    with pytest.raises(UsageError, match="line 1 is not JSON"):
        find_media([], manifest=tmp_path / "list.jsonl")


# ---------------------------------------------------------------- elsewhere


def test_uris() -> None:
    memory = fsspec.filesystem("memory")
    for name in ("/bucket/x/a.mp3", "/bucket/x/a.mid", "/bucket/b.wav", "/bucket/c.txt"):
        memory.pipe(name, name.encode())
    found = find_media(["memory://bucket"])
    assert ids(found) == ["b.wav", "x/a.mp3"]
    assert len(found[1].parts) == 2
    assert content_hash(found[0]) == hashlib.sha256(b"/bucket/b.wav").hexdigest()
    assert ids(find_media(["memory://bucket/x/*.mp3"])) == ["a.mp3"]
    assert ids(find_media(["memory://bucket/c.txt"])) == ["c.txt"]
    with pytest.raises(UsageError, match="memory://gone"):
        find_media(["memory://gone"])
    with pytest.raises(UsageError, match="cannot read nonsense://x"):
        find_media(["nonsense://x"])


@pytest.mark.parametrize(("uri", "package"), [("s3://b/a.mp3", "s3fs"), ("gs://b/a.mp3", "gcsfs")])
def test_a_missing_extra_says_what_to_install(
    uri: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(_: str) -> None:
        raise ImportError(package)

    monkeypatch.setattr("moodstream.transforms.sources.url_to_fs", without)
    extra = uri[:2]
    with pytest.raises(
        MissingExtraError, match=rf"{package} is not installed: pip install 'moodstream\[{extra}\]'"
    ):
        find_media([uri])


# ---------------------------------------------------------------- sources


def test_content_hash(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp3", "a.mid")
    (both,) = find_media([tmp_path])
    alone = find_media([tmp_path], pair=False)
    single = {one.media_id: content_hash(one) for one in alone}
    assert single["a.mp3"] == hashlib.sha256(b"a.mp3").hexdigest()
    assert content_hash(both) not in single.values()
    assert content_hash(both, {both.parts[0].source: b"other"}) != content_hash(both)
    assert size_of(both) == 10
    assert size_of(Media("x", (Part("memory://x", "audio"), Part(str(tmp_path / "gone"), "audio")))) == 0


def test_kinds() -> None:
    names = ("a.MID", "a.mp4", "a.flac", "a", "s3://b/a.webm")
    assert [kind_of(name) for name in names] == ["midi", "video", "audio", "audio", "video"]
