"""Everything that can go wrong, and what it means.

    MoodstreamError
    ├── UsageError            the command or call is wrong; nothing was done        (exit status 2)
    │   └── MissingExtraError an optional dependency is not installed
    ├── MediaError            one media cannot be analysed (wholly or in part): a dead letter, the run goes on
    │   ├── PacketError       stage `packet`: no media id, contradicting headers, too large, too late
    │   ├── ReadError         stage `read`: missing, unreadable, empty
    │   ├── DecodeError       stage `decode`: not audio, truncated, no sound, NaN, too long
    │   └── NotesError        stage `notes`: a MIDI file without notes or beyond repair
    └── StoreError            the lake or database refused a write; the run stops     (exit status 1)

Anything else is a bug and is not caught.
"""

from importlib import import_module
from typing import Any


class MoodstreamError(Exception):
    """Base of all errors that moodstream raises on purpose."""


class UsageError(MoodstreamError):
    """The command or call is wrong; the message says what to do instead."""


class MissingExtraError(UsageError):
    """An optional dependency is missing.

    Example:
        >>> str(MissingExtraError("essentia", "features"))
        "essentia is not installed: pip install 'moodstream[features]'"
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'moodstream[{extra}]'")


def optional(module: str, package: str, extra: str) -> Any:
    """A module of an optional dependency, imported where it is needed.

    Args:
        module: its name. package: what to call it. extra: the extra of moodstream that installs it.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(package, extra) from error


class MediaError(MoodstreamError):
    """One media cannot be analysed as it should; `error` is a short stable word people can count by."""

    stage = "analyze"

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error

    def __reduce__(self) -> tuple[type["MediaError"], tuple[str, str]]:
        return type(self), (self.error, str(self))


class PacketError(MediaError):
    stage = "packet"


class ReadError(MediaError):
    stage = "read"


class DecodeError(MediaError):
    stage = "decode"


class NotesError(MediaError):
    stage = "notes"


class StoreError(MoodstreamError):
    """A store refused a write: disk full, no rights, connection lost."""
