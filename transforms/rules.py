"""Rules: what is worth an alert, as people say it.

A rule looks at one value of the rows of a channel: is it above (or below) a threshold, for so long, in that
part of the media? `transforms/watch.py` judges rules as rows become final; docs/calls.md shows how they are
written.

Conventions: `*_s` are seconds of the media, judged in steps of half a second; shares of a media go from 0 to
1. Values are those of the curve's columns, or 0 and 1 where the question is whether something is so.
"""

import difflib
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields

from moodstream.models.base import DIMENSIONS, EMOTIONS, QUADRANTS, STEP_MS

SEVERITIES = ("info", "warning", "critical")
MODALITIES = ("speech", "music", "symbolic", "fused")
NUMBERS = (*DIMENSIONS, *(f"{name}_std" for name in DIMENSIONS), "loudness_lufs")  # columns of the curve
SCORES = (*EMOTIONS, *QUADRANTS)  # probabilities, 0 to 1
SWITCHES = ("talk", "silence", "music")  # 0 or 1: what this channel does
SIDES = ("overlap",)  # 0 or 1: this side talks while another does
WHOLE = ("non_talk", "elapsed_s")  # of the call as a whole: nobody talks (0 or 1); how long it has lasted
SUMMARIES = tuple(
    f"summary.{name}"
    for name in (
        *(f"{dimension}_{what}" for dimension in DIMENSIONS for what in ("mean", "std", "slope")),
        *("estimated_share", "loudness_lufs_mean", "talk_ms", "non_talk_ms", "interruptions", "overlap_ms"),
        *("sentiment_q1", "sentiment_q2", "sentiment_q3", "sentiment_q4"),
    )
)
VALUES = (*NUMBERS, *SCORES, *SWITCHES, *SIDES, *WHOLE, *SUMMARIES)
JUDGED = frozenset({*NUMBERS, *SCORES} - {"loudness_lufs"})  # what a channel without emotions does not have
_YES_NO = frozenset({*SWITCHES, *SIDES, "non_talk"})
_LONGEST_NAME = 64
_ORDINALS = ("first", "second", "third", "last")


@dataclass(frozen=True, slots=True)
class Stretch:
    """The part of a media that a rule looks at: by time since its start, or by share, known at its end."""

    from_s: float = 0.0
    to_s: float | None = None
    from_share: float = 0.0
    to_share: float = 1.0
    last_s: float | None = None

    @property
    def at_close(self) -> bool:
        """Whether only the end tells where it lies."""
        return self.last_s is not None or (self.from_share, self.to_share) != (0.0, 1.0)

    @classmethod
    def named(cls, words: str) -> "Stretch":
        """`last quarter`, `first half`, `second third`, ...

        Raises:
            ValueError: no such part.
        """
        which, _, unit = words.strip().lower().partition(" ")
        count = {"half": 2, "third": 3, "quarter": 4}.get(unit)
        if count is None or which not in _ORDINALS or (which == "third" and count < 4):
            raise ValueError(f"{words!r}, expected such as 'last quarter', 'first half' or 'second third'")
        place = count - 1 if which == "last" else _ORDINALS.index(which)
        if place >= count:
            raise ValueError(f"{words!r}: there are only {count} of these")
        return cls(from_share=place / count, to_share=(place + 1) / count)

    def cells(self, cells: int) -> tuple[int, int]:
        """The cells of it, half-open, once a media is known to have so many."""
        if self.last_s is not None:
            return max(0, cells - in_cells(self.last_s)), cells
        if self.at_close:
            return round(self.from_share * cells), round(self.to_share * cells)
        return in_cells(self.from_s), cells if self.to_s is None else min(cells, in_cells(self.to_s))

    def earliest(self, cells: int) -> int:
        """The first cell that can still lie in it when a media goes on after so many cells."""
        if self.last_s is not None:
            return max(0, cells - in_cells(self.last_s))
        return round(self.from_share * cells)

    def __str__(self) -> str:
        if self.last_s is not None:
            return f"in the last {self.last_s:g} s"
        if self.at_close:
            return f"between {self.from_share:.0%} and {self.to_share:.0%} of it"
        if self.to_s is None:
            return f"after {self.from_s:g} s" if self.from_s else ""
        return f"between {self.from_s:g} and {self.to_s:g} s"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Raises:
        ValueError: something in it cannot be; the message names all that.

    Example:
        >>> print(Rule("angry", "anger", above=0.5, for_s=4, on="customer"))
        anger above 0.5 for 4 s on customer
    """

    name: str
    value: str  # one of VALUES
    above: float | None = None
    below: float | None = None
    for_s: float = 0.5  # so long with a known value that fulfils it, without one between that does not
    over_s: float = 0.0  # judge the mean of so many seconds instead of each half second
    pause_s: float = 5.0  # half seconds without a value are passed over, up to so long
    on: str = "any"  # a role, a channel, or any
    part: Stretch = field(default_factory=Stretch)
    negate: bool = False  # ring when the part is over and it did NOT come to this
    every_s: float = 60.0  # at most one alert in so long, on each channel
    at_most: int | None = None  # alerts a media and channel
    severity: str = "warning"
    modality: str | None = None  # which curve of the channel; the one that tells every half second if None

    def __post_init__(self) -> None:
        found = [f"{name} {why}" for name, why in self.problems()]
        if found:
            raise ValueError("; ".join(found))

    @property
    def threshold(self) -> float:
        return self.above if self.above is not None else self.below if self.below is not None else 0.5

    @property
    def is_low(self) -> bool:
        """Whether it is about values below the threshold."""
        return self.below is not None

    @property
    def cells(self) -> int:
        """How many half seconds must fulfil it."""
        return max(1, in_cells(self.for_s))

    @property
    def digest(self) -> str:
        """The same for the same rule, in every process."""
        mine = asdict(self)
        part = {name: None if value is None else float(value) for name, value in mine.pop("part").items()}
        mine |= {name: float(value) for name, value in mine.items() if type(value) is int}
        return hashlib.sha256(json.dumps(mine | part, sort_keys=True).encode()).hexdigest()[:16]

    def holds(self, value: float) -> bool:
        return value < self.threshold if self.is_low else value > self.threshold

    def is_on(self, channel: str, role: str | None) -> bool:
        return self.on in ("any", channel, role)

    def problems(self) -> Iterator[tuple[str, str]]:
        """What cannot be: the field's name, and why."""
        if not 0 < len(self.name) <= _LONGEST_NAME or not self.name.isprintable():
            yield "name", f"is {self.name[:80]!r}, expected 1 to {_LONGEST_NAME} printable characters"
        if self.value not in VALUES:
            near = difflib.get_close_matches(self.value, VALUES, 3, 0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else f": {', '.join(VALUES)}"
            yield "value", f"is {self.value[:80]!r}, which no row has{hint}"
        if (self.above is None) == (self.below is None) and (
            self.above is not None or self.value not in _YES_NO
        ):
            yield "above", f"or below: one of both, not {'both' if self.above is not None else 'none'}"
        for name in ("above", "below"):
            bound = getattr(self, name)
            if bound is not None and not math.isfinite(bound):
                yield name, f"is {bound}, expected a number"
        yield from self._problems_of_time()
        if self.at_most is not None and self.at_most < 1:
            yield "at_most", f"is {self.at_most}, expected at least 1"
        if self.severity not in SEVERITIES:
            yield "severity", f"is {self.severity!r}, expected one of {', '.join(SEVERITIES)}"
        if self.modality is not None and self.modality not in MODALITIES:
            yield "modality", f"is {self.modality!r}, expected one of {', '.join(MODALITIES)}"
        if self.value in WHOLE and self.on != "any":
            yield "on", f"is {self.on!r}, but {self.value} is of the call as a whole: leave it out"
        if not self.on:
            yield "on", "is empty, expected any, customer, agent or what else the role is called"

    def _problems_of_time(self) -> Iterator[tuple[str, str]]:
        part = self.part
        for name, least in (("for_s", STEP_MS / 1000), ("over_s", 0.0), ("pause_s", 0.0), ("every_s", 0.0)):
            if not least <= getattr(self, name) <= 86_400:
                yield name, f"is {getattr(self, name):g}, expected {least:g} to 86400"
        if not 0 <= part.from_share < part.to_share <= 1:
            yield "part", f"goes from {part.from_share:g} to {part.to_share:g}, expected 0 <= from < to <= 1"
        if part.from_s < 0 or (part.to_s is not None and part.to_s - part.from_s < self.for_s):
            yield "part", f"from {part.from_s:g} s to {part.to_s} s has no room for {self.for_s:g} s"
        if part.last_s is not None and part.last_s < self.for_s:
            yield "part", f"of the last {part.last_s:g} s has no room for {self.for_s:g} s"
        if self.value in SUMMARIES:
            for name in ("for_s", "over_s", "part"):
                if getattr(self, name) != _DEFAULTS[name]:
                    yield name, f"has no meaning for {self.value}, which is known at the end"
        if self.value == "elapsed_s" and self.negate:
            yield "negate", "has no meaning for elapsed_s"

    def __str__(self) -> str:
        mean = f"mean of {self.over_s:g} s of " if self.over_s else ""
        test = f"{'below' if self.is_low else 'above'} {self.threshold:g}"
        is_plain = self.value in _YES_NO and self.above is None and self.below is None and not mean
        words = [f"{mean}{self.value}" if is_plain else f"{mean}{self.value} {test}"]
        if self.value not in SUMMARIES:
            words.append(f"for {self.for_s:g} s")
        words += [str(self.part)] if str(self.part) else []
        words += [f"on {self.on}"] if self.on != "any" else []
        return ("never: " if self.negate else "") + " ".join(words)


_DEFAULTS = {"for_s": 0.5, "over_s": 0.0, "part": Stretch()}
FIELDS = tuple(column.name for column in fields(Rule))


def in_cells(seconds: float) -> int:
    """Seconds in whole half seconds, up."""
    return math.ceil(round(seconds * 1000 / STEP_MS, 6))


def check_rules(rules: tuple[Rule, ...], emotions_for: str) -> Iterator[tuple[int, str, str]]:
    """What cannot be about rules together: the number of the rule, the field's name, and why.

    Args:
        rules: all of a run.
        emotions_for: whose emotions are estimated; a rule on those of somebody else could never ring.
    """
    seen: set[str] = set()
    for number, rule in enumerate(rules):
        if rule.name in seen:
            yield number, "name", f"{rule.name!r} is taken by a rule above"
        seen.add(rule.name)
        if rule.on == "agent" and rule.value in JUDGED and emotions_for != "all":
            yield (
                number,
                "on",
                f"is agent, whose {rule.value} is not estimated (emotions_for is {emotions_for}): "
                "this rule could never ring",
            )
