"""Claims: payloads that lie elsewhere, and who may be asked for them.

A packet may name its payload (`ce_dataref`) instead of holding it. Whoever writes to the topic must not be
able to read this machine's files or ask its network for things, so nothing is fetched unless it lies under
one of the roots that the operator names, and no more than `max_bytes` of it.

Conventions: roots and references are paths or fsspec URIs (`s3://bucket/calls/`, `file:///srv/calls`). Files
are compared as they are once links are followed; URIs segment by segment, case counting in the path.
"""

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from moodstream.transforms.errors import PacketError, ReadError, UsageError
from moodstream.transforms.sources import local_path, open_bytes

MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Claims:
    """What may be fetched."""

    roots: tuple[str, ...] = ()  # nothing unless it lies under one of these
    max_bytes: int = MAX_BYTES

    def fetch(self, reference: str) -> bytes:
        """The payload that a packet names.

        Raises:
            PacketError: `not_allowed` (no root of ours), `too_large`.
            ReadError: `missing`, `unreadable`, `empty`.
        """
        if not any(_lies_under(reference, root) for root in self.roots):
            raise PacketError("not_allowed", f"ce_dataref {reference[:200]!r} is under none of the roots")
        with _readable(reference), open_bytes(reference) as file:
            parts, size = [], 0
            while size <= self.max_bytes and (more := file.read(1 << 20)):
                parts.append(more)
                size += len(more)
        if size > self.max_bytes:
            raise PacketError("too_large", f"{reference[:200]!r} has more than {self.max_bytes} bytes")
        if not size:
            raise ReadError("empty", f"{reference[:200]!r} has no bytes")
        return b"".join(parts)


def _lies_under(reference: str, root: str) -> bool:
    """Whether a reference lies in a folder, whatever `..`, links and `%2e` it is written with."""
    if "::" in reference or not reference.isprintable():  # fsspec would chain file systems
        return False
    ours, theirs = local_path(root), local_path(reference)
    if ours is not None or theirs is not None:
        return (
            ours is not None
            and theirs is not None
            and theirs.is_absolute()
            and theirs.resolve().is_relative_to(ours.resolve())
        )
    one, two = urlsplit(root), urlsplit(reference)
    if (one.scheme.lower(), one.netloc.lower()) != (two.scheme.lower(), two.netloc.lower()):
        return False
    path = unquote(two.path)
    folder = one.path.rstrip("/") + "/"
    return posixpath.normpath(path) == path.rstrip("/") and path.startswith(folder)


@contextmanager
def _readable(reference: str) -> Iterator[None]:
    """What a file system raises as errors of ours.

    Raises:
        ReadError: `unreadable`.
    """
    try:
        yield
    except (OSError, ValueError, UsageError) as error:
        raise ReadError("unreadable", f"{reference[:200]!r}: {error}") from error
