"""The steps put together: the catalogue run, configuration and the command line."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moodstream.pipelines.single import Analysis, analyze

__all__ = ["Analysis", "analyze"]


def __getattr__(name: str) -> Any:
    """`analyze` and `Analysis` on first use: the command line's help must not wait for them."""
    if name in __all__:
        from moodstream.pipelines import single

        return getattr(single, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
