"""Sound: whole files and ranges of them, from the media roots and from nowhere else."""

import os
from pathlib import Path

import av
import pytest
from fastapi.testclient import TestClient

from moodstream.serving.api.roots import find
from tests.pipelines.conftest import MemoryLake, add_media, add_track
from tests.serving.conftest import MakeClient, write_lake

URL = "/v1/sound?media=song.wav"


def test_the_file_comes_whole(client: TestClient, media_root: Path) -> None:
    answer = client.get(URL)
    assert answer.status_code == 200
    assert answer.content == (media_root / "song.wav").read_bytes()
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["accept-ranges"] == "bytes"
    head = client.head(URL)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(answer.content))
    assert client.get(URL, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [
        ("bytes=0-99", 0, 100),
        ("bytes=100-", 100, None),
        ("bytes=-50", -50, None),
        ("bytes=1000-99999999999", 1000, None),
        ("bytes=7-7", 7, 8),
        ("bytes=-99999999999", 0, None),
    ],
)
def test_ranges(client: TestClient, media_root: Path, asked: str, first: int, end: int | None) -> None:
    whole = (media_root / "song.wav").read_bytes()
    answer = client.get(URL, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == whole[first:end]
    begin = first if first >= 0 else len(whole) + first
    assert answer.headers["content-range"] == f"bytes {begin}-{begin + len(answer.content) - 1}/{len(whole)}"


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=99999999-99999999", "bytes=-0"])
def test_ranges_outside_of_the_file(client: TestClient, media_root: Path, asked: str) -> None:
    answer = client.get(URL, headers={"Range": asked})
    assert answer.status_code == 416
    size = (media_root / "song.wav").stat().st_size
    assert answer.headers["content-range"] == f"bytes */{size}"
    assert not answer.content


@pytest.mark.parametrize("asked", ["bytes=", "bytes=-", "items=0-1", "bytes=5-2", "bytes=0-1,5-6", "rubbish"])
def test_what_is_no_range_gives_all(client: TestClient, asked: str) -> None:
    assert client.get(URL, headers={"Range": asked}).status_code == 200


def test_a_range_of_a_file_that_has_changed_gives_all(client: TestClient) -> None:
    headers = {"Range": "bytes=0-9", "If-Range": '"other"'}
    assert client.get(URL, headers=headers).status_code == 200
    headers["If-Range"] = client.get(URL).headers["etag"]
    assert client.get(URL, headers=headers).status_code == 206


def test_what_cannot_be_played_says_what_to_do(
    client: TestClient, make_client: MakeClient, served_lake: Path, tmp_path: Path
) -> None:
    gone = client.get("/v1/sound?media=piece.mid")
    assert gone.status_code == 404
    assert "--media-root" in gone.json()["what_to_do"]
    assert client.get("/v1/sound?media=nope").status_code == 404
    without = make_client(served_lake, cache=tmp_path).get(URL)
    assert without.status_code == 404
    assert "--media-root DIR" in without.json()["what_to_do"]


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    """A root, and beside it what must not be seen."""
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (root / "in" / "a.mp3").write_bytes(b"mine")
    (root / "in" / "notes.txt").write_bytes(b"no sound")
    (tmp_path / "secret.mp3").write_bytes(b"secret")
    (tmp_path / "root-beside").mkdir()
    (tmp_path / "root-beside" / "a.mp3").write_bytes(b"secret")
    (root / "link.mp3").symlink_to(tmp_path / "secret.mp3")
    (root / "folder").symlink_to(tmp_path / "root-beside")
    (root / "good.mp3").symlink_to(root / "in" / "a.mp3")
    (root / "list.mp3").mkdir()
    os.mkfifo(root / "pipe.mp3")
    return root


@pytest.mark.parametrize(
    "source",
    [
        "in/a.mp3",
        "root/in/a.mp3",
        "good.mp3",
        "in/../in/a.mp3",
        "{root}/in/a.mp3",
        "file://{root}/in/a.mp3",
        "file://{root}/%69n/a.mp3",
    ],
)
def test_what_lies_below_the_root_is_found(roots: Path, source: str) -> None:
    found = find([roots], [source.format(root=roots)], "x")
    assert found is not None
    with found[0] as file:
        assert file.read() == b"mine"


@pytest.mark.parametrize(
    "source",
    [
        "../secret.mp3",
        "in/../../secret.mp3",
        "{root}/../secret.mp3",
        "{above}/secret.mp3",
        "file://{above}/secret.mp3",
        "file://{root}/%2e%2e/secret.mp3",
        "file://{root}/..%2fsecret.mp3",
        "..%2fsecret.mp3",
        "%2e%2e/secret.mp3",
        "..\\secret.mp3",
        "link.mp3",
        "folder/a.mp3",
        "../root-beside/a.mp3",
        "in/notes.txt",
        "list.mp3",
        "pipe.mp3",
        "in/a.mp3\0.mp3",
        "",
        ".",
        "/etc/passwd",
        "/proc/self/environ",
        "http://example.org/a.mp3",
        "s3://bucket/in/a.mp3",
        "x" * 5000 + ".mp3",
    ],
)
def test_nothing_else_is_opened(roots: Path, source: str) -> None:
    text = source.format(root=roots, above=roots.parent)
    assert find([roots], [text], text) is None


def test_hostile_rows_open_nothing(make_client: MakeClient, tmp_path: Path, roots: Path) -> None:
    lake = MemoryLake()
    for i, source in enumerate((str(roots.parent / "secret.mp3"), "../secret.mp3", "link.mp3")):
        add_track(lake, f"../secret.mp3{'/' * i}", 5, "music")
        add_media(lake, f"../secret.mp3{'/' * i}", 5, "audio", source, sources=[source, "folder/a.mp3"])
    client = make_client(write_lake(lake, tmp_path / "lake"), media_roots=(roots,))
    for name in lake.media_ids():
        answer = client.get("/v1/sound", params={"media": name})
        assert answer.status_code == 404
        told = answer.json()
        del told["instance"]  # what was asked for
        assert "secret" not in str(told)


def test_notes_are_played_and_kept(make_client: MakeClient, tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "demo" / "songs"
    midi = next(source.rglob("*.mid"))
    lake = MemoryLake()
    add_track(lake, "piece", 10, "symbolic")
    add_media(lake, "piece", 10, "midi", str(midi), sources=[str(midi)])
    folder = write_lake(lake, tmp_path / "lake")
    client = make_client(folder, media_roots=(source,))
    answer = client.get("/v1/sound?media=piece")
    assert answer.headers["content-type"] == "audio/mpeg"
    (tmp_path / "x.mp3").write_bytes(answer.content)
    with av.open(str(tmp_path / "x.mp3")) as file:
        assert sum(frame.samples for frame in file.decode(audio=0)) > 22_050
    [kept] = (folder / "_serve" / "sound").iterdir()
    stamp = kept.stat().st_mtime_ns
    assert client.get("/v1/sound?media=piece", headers={"Range": "bytes=0-9"}).content == answer.content[:10]
    assert kept.stat().st_mtime_ns == stamp
