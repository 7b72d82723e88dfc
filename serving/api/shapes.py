"""The results of one media in the shapes of other services, for programs that were written for those.

A shape is a function from a `Subject` to what JSON is made of. What we do not know is null where that
service would have a value, and `moodstream` beside it says which fields those are and what is meant
otherwise. The tables of docs/serving.md are about all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from moodstream.serving.api.shapes_calls import aws, hume
from moodstream.serving.api.shapes_music import cyanite, spotify
from moodstream.serving.api.subject import Subject
from moodstream.transforms.errors import UsageError


@dataclass(frozen=True)
class Shape:
    """How one service gives its results.

    Args:
        make: the function.
        fits: which media have this shape, in words; `of` tests it.
        of: whether a media has it.
        modality: what it is made from; the best there is if None.
    """

    make: Callable[[Subject], Any]
    fits: str
    of: Callable[[Subject], bool]
    modality: str | None = None


def _is_call(subject: Subject) -> bool:
    return bool(subject.media["kind"] == "call")


def _is_music(subject: Subject) -> bool:
    return not _is_call(subject)


def _has_speech(subject: Subject) -> bool:
    return any(row["modality"] == "speech" for row in subject.summaries)


SHAPES = {
    "aws": Shape(aws, "calls", _is_call),
    "hume": Shape(hume, "media with speech", _has_speech, "speech"),
    "cyanite": Shape(cyanite, "music", _is_music),
    "spotify": Shape(spotify, "music", _is_music),
}


def shaped(name: str, subject: Subject) -> Any:
    """A media in the shape of a service.

    Raises:
        UsageError: no such shape, or none for media of this kind.
    """
    from moodstream.serving.api.shapes_calls import aws, hume
    from moodstream.serving.api.shapes_music import cyanite, spotify

    shapes = {
        "aws": Shape(aws, "calls", lambda s: s.media["kind"] == "call"),
        "hume": Shape(
            hume, "media with speech", lambda s: any(r["modality"] == "speech" for r in s.summaries)
        ),
        "cyanite": Shape(cyanite, "music", lambda s: s.media["kind"] != "call"),
        "spotify": Shape(spotify, "music", lambda s: s.media["kind"] != "call"),
    }
    if name not in shapes:
        raise UsageError(f"no shape is called {name!r}; there are {', '.join(shapes)}")
    if not shapes[name].of(subject):
        kind = subject.media["kind"]
        raise UsageError(f"the shape {name} is for {shapes[name].fits}, and this is of kind {kind}")
    return shapes[name].make(subject)
