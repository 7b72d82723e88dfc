"""Finding the media to analyse, and opening their bytes."""

import re
from typing import BinaryIO, cast

import fsspec

from moodstream.transforms.errors import MissingExtraError, ReadError

_URI = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_EXTRAS = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gs"), "gcs": ("gcsfs", "gs")}


def is_uri(source: str) -> bool:
    """Whether a source is a URI for fsspec, and not a path."""
    return _URI.match(source) is not None


def open_bytes(source: str) -> BinaryIO:
    """Open a path or URI for reading bytes.

    Raises:
        ReadError: `missing` (a broken link too) or `unreadable`.
        MissingExtraError: the URI needs a package that is not installed.
    """
    try:
        if is_uri(source):
            return cast(BinaryIO, fsspec.open(source, "rb").open())
        return open(source, "rb", buffering=0)  # noqa: PTH123
    except FileNotFoundError as error:
        raise ReadError("missing", f"there is no such file: {source}") from error
    except (ImportError, ValueError) as error:
        package, extra = _EXTRAS.get(source.split("://")[0].lower(), ("", ""))
        if extra:
            raise MissingExtraError(package, extra) from error
        raise ReadError("unreadable", f"{source}: {error}") from error
    except OSError as error:
        raise ReadError("unreadable", f"{source}: {error}") from error
