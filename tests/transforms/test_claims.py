"""Claims: only what lies under the operator's roots is fetched, and not too much of it."""

from pathlib import Path

import fsspec
import pytest

from moodstream.transforms.claims import Claims
from moodstream.transforms.errors import MediaError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "calls"
    folder.mkdir()
    (folder / "one.mp3").write_bytes(b"sound" * 100)
    (folder / "empty").touch()
    (tmp_path / "secret").write_bytes(b"key")
    (tmp_path / "calls-of-others").mkdir()
    (tmp_path / "calls-of-others/two.mp3").write_bytes(b"sound")
    (folder / "link").symlink_to(tmp_path / "secret")
    return folder


def test_what_lies_under_a_root_is_fetched(root: Path) -> None:
    claims = Claims((str(root),))
    assert claims.fetch(str(root / "one.mp3")) == b"sound" * 100
    assert claims.fetch((root / "one.mp3").as_uri()) == b"sound" * 100
    with fsspec.open("memory://calls/a b.mp3", "wb") as file:
        file.write(b"there")
    assert Claims(("memory://calls",)).fetch("memory://calls/a b.mp3") == b"there"


def refused(claims: Claims, reference: str) -> str:
    with pytest.raises(MediaError) as error:
        claims.fetch(reference)
    return error.value.error


def test_nothing_else_is(root: Path) -> None:
    claims = Claims((str(root), "memory://calls/"))
    for reference in (
        str(root.parent / "secret"),
        f"{root}/../secret",
        f"file://{root}/%2e%2e/secret",
        str(root / "link"),
        str(root.parent / "calls-of-others/two.mp3"),
        "one.mp3",
        "memory://calls/../secret",
        "memory://calls/%2e%2e/secret",
        "memory://callsigns/x",
        "http://169.254.169.254/latest/meta-data",
        f"simplecache::file://{root}/one.mp3",
        "memory://calls/x\n",
        "",
    ):
        assert refused(claims, reference) == "not_allowed", reference
    assert refused(Claims(), str(root / "one.mp3")) == "not_allowed"


def test_what_cannot_be_had_or_is_too_much_is_said(root: Path) -> None:
    claims = Claims((str(root), "memory://calls", "gopher://x/"), max_bytes=499)
    assert refused(claims, str(root / "one.mp3")) == "too_large"
    assert refused(claims, str(root / "empty")) == "empty"
    assert refused(claims, str(root / "nobody.mp3")) == "missing"
    assert refused(claims, str(root)) == "unreadable"
    assert refused(claims, "memory://calls/nobody") == "missing"
    assert refused(claims, "gopher://x/y") == "unreadable"
