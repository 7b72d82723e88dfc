"""Files that may be played: those under the roots that the operator named, and nothing else.

A media's row says where its file was when it was analysed. That is data, and whoever wrote the lake chose
it; so a file is opened first, then asked where it really lies. What lies elsewhere is closed unread: a link
that leads out, `..`, an absolute path, and a link that is swapped while we look, too.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from moodstream.transforms.read import AUDIO, MIDI, VIDEO

_PLAYABLE = AUDIO | VIDEO | MIDI
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY  # a pipe or a device must not hold us up


def find(roots: Sequence[Path], sources: Sequence[str], media_id: str) -> tuple[IO[bytes], Path] | None:
    """The first file of a media that may be played, opened; and where it lies.

    Args:
        roots: folders.
        sources: paths or URIs as the media's row has them.
        media_id: it is a path below the folder that was analysed, unless people chose others.
    """
    for root in roots:
        real = Path(os.path.realpath(root))
        for source in (*sources, media_id):
            for candidate in _candidates(real, source):
                found = _open(candidate, real)
                if found is not None:
                    return found
    return None


def _candidates(root: Path, source: str) -> Iterator[Path]:
    """Where a source may lie: as it is written; below the root, or beside it if it begins with its name."""
    if source.startswith("file://"):
        source = unquote(urlsplit(source).path)
    elif "://" in source:
        return
    path = Path(source)
    if path.is_absolute():
        yield path
    else:
        yield root / path
        yield root.parent / path


def _open(path: Path, root: Path) -> tuple[IO[bytes], Path] | None:
    try:
        number = os.open(path, _FLAGS)
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        return None
    lies = Path(f"/proc/self/fd/{number}").readlink()
    playable = lies.suffix[1:].lower() in _PLAYABLE
    if playable and lies.is_relative_to(root) and stat.S_ISREG(os.fstat(number).st_mode):
        return open(number, "rb", buffering=0), lies  # noqa: PTH123 (whoever gets it closes it)
    os.close(number)
    return None
