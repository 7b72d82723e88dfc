"""Dependencies that are not everyone's: imported where they are needed, missed with what to install."""

from importlib import import_module
from typing import Any

from moodstream.transforms.errors import MissingExtraError


def optional(module: str, package: str, extra: str) -> Any:
    """A module of an optional dependency.

    Args:
        module: its name. package: what to call it. extra: the extra of moodstream that installs it.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(package, extra) from error
