"""Sources: what a file is called in rows, opening its bytes, hashing them.

Conventions: a source is a path or an fsspec URI (`s3://bucket/song.mp3`). It is written into rows, so it must
be text: a file whose name is not UTF-8 travels as a `file://` URI with that name percent-encoded.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote_to_bytes

from fsspec.core import url_to_fs

from moodstream.transforms.elements import Media, Part
from moodstream.transforms.errors import MissingExtraError, ReadError, UsageError

_URI = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_EXTRAS = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gs"), "gcs": ("gcsfs", "gs")}
_CHUNK = 1 << 20


def is_uri(source: str) -> bool:
    """Whether a source is a URI and not a path."""
    return _URI.match(source) is not None


def source_of(path: Path) -> str:
    """How a local file is written into rows: its path, or a URI where the path is not text."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return path.absolute().as_uri()
    return str(path)


def local_path(source: str) -> Path | None:
    """The local file that a source names; None for what lies elsewhere."""
    if source.startswith("file://"):
        return Path(os.fsdecode(unquote_to_bytes(source.removeprefix("file://"))))
    return None if is_uri(source) else Path(source)


def filesystem_of(uri: str) -> tuple[Any, str]:
    """The fsspec file system of a URI, and the path in it.

    Raises:
        MissingExtraError: it needs a package that is not installed.
        UsageError: nobody knows this kind of URI.
    """
    try:
        filesystem, path = url_to_fs(uri)
    except (ImportError, ValueError) as error:
        package, extra = _EXTRAS.get(uri.split("://")[0].lower(), ("", ""))
        if extra:
            raise MissingExtraError(package, extra) from error
        raise UsageError(f"cannot read {uri}: {error}") from error
    return filesystem, path


def open_bytes(source: str) -> BinaryIO:
    """Open a source for reading bytes.

    Raises:
        ReadError: `missing` (a broken link too) or `unreadable`.
        MissingExtraError: the URI needs a package that is not installed.
    """
    path = local_path(source)
    try:
        if path is not None:
            return path.open("rb", buffering=0)
        filesystem, remote = filesystem_of(source)
        return cast(BinaryIO, filesystem.open(remote, "rb"))
    except FileNotFoundError as error:
        broken = path is not None and path.is_symlink()
        what = "the link points to nothing" if broken else "there is no such file"
        raise ReadError("missing", f"{what}: {source}") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ReadError("unreadable", str(error)) from error


def size_of(media: Media) -> int:
    """Bytes of the media's local files; what lies elsewhere or cannot be read counts 0."""
    size = 0
    for part in media.parts:
        path = local_path(part.source)
        if path is not None and path.is_file():
            size += path.stat().st_size
    return size


def content_hash(media: Media, payloads: Mapping[str, bytes] | None = None) -> str:
    """SHA-256 of the content in hex: of the file, or of the hashes of the files where there are several.

    Args:
        media: whose parts to read.
        payloads: bytes of sources that are not files.

    Raises:
        ReadError: a part is missing or unreadable.
    """
    digests = [_digest(part, payloads or {}) for part in media.parts]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _digest(part: Part, payloads: Mapping[str, bytes]) -> str:
    if part.source in payloads:
        return hashlib.sha256(payloads[part.source]).hexdigest()
    digest = hashlib.sha256()
    with open_bytes(part.source) as file:
        try:
            while data := file.read(_CHUNK):
                digest.update(data)
        except OSError as error:
            raise ReadError("unreadable", f"{part.source}: {error}") from error
    return digest.hexdigest()
