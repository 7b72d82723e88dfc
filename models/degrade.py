"""Sound as a call centre gets it: other people talking in the room, then a telephone line.

Conventions: mono float32 samples [n] at 16 kHz, and the result as long. Everything is a function of its
arguments and of the generator it is given. These are the conditions that models are judged by; what they
hear in training is in `augment`. Source: ITU-T G.711, tables 1 and 2, as 16-bit values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial

import numpy as np
import numpy.typing as npt
import soxr

from moodstream.models.base import RATE_HZ, Float
from moodstream.models.examples import Example

LINE_HZ = 8_000
LAWS = ("mu", "A")
VOICES = 6  # that make a babble: fewer can be understood, more are noise
POOL = 160  # recordings that the voices are taken from


@dataclass(frozen=True)
class Condition:
    """What happens to a sound, in this order."""

    gain_db: float = 0.0
    babble_db: float | None = None  # how far the voices in the room lie below the speaker
    telephone: bool = False


CONDITIONS: Mapping[str, Condition] = {
    "clean": Condition(),
    "telephone": Condition(telephone=True),
    "babble 15 dB": Condition(babble_db=15.0),
    "telephone, babble 15 dB": Condition(babble_db=15.0, telephone=True),
    "gain +20 dB": Condition(gain_db=20.0),
    "gain -20 dB": Condition(gain_db=-20.0),
}


def degraded(examples: Sequence[Example], name: str, seed: int = 0) -> list[Example]:
    """The same examples, heard under one of CONDITIONS.

    Raises:
        ValueError: no such condition.
    """
    if name not in CONDITIONS:
        raise ValueError(f"condition is {name!r}, allowed are {', '.join(CONDITIONS)}")
    condition, room = CONDITIONS[name], Room(examples)
    return [
        replace(
            example,
            key=f"{example.key}:{name}:{seed}:{i}",
            sound=partial(_heard, example, condition, room, (seed, i)),
        )
        for i, example in enumerate(examples)
    ]


def _heard(example: Example, condition: Condition, room: "Room", seed: tuple[int, int]) -> Float:
    draw = np.random.default_rng(seed)
    sound = example.sound() * np.float32(10 ** (condition.gain_db / 20))
    if condition.babble_db is not None:
        sound = add(sound, room.babble(len(sound), example.group, draw), condition.babble_db)
    return through_line(sound, LAWS[int(draw.integers(2))]) if condition.telephone else sound


class Room:
    """People who talk: voices of the examples' own corpora, never that of the speaker listened to."""

    def __init__(self, examples: Sequence[Example]) -> None:
        chosen = np.random.default_rng(0).permutation(len(examples))[:POOL]
        self._examples = [examples[i] for i in chosen]

    @cached_property
    def _sounds(self) -> list[Float]:
        return [example.sound() for example in self._examples]

    def babble(self, length: int, listened_to: str, draw: np.random.Generator) -> Float:
        """VOICES people at once, [length], all equally loud, each from a random place on.

        Raises:
            ValueError: nobody but this speaker is there.
        """
        others = [i for i, example in enumerate(self._examples) if example.group != listened_to]
        if not others:
            raise ValueError(f"nobody but {listened_to!r} is there to babble")
        total = np.zeros(length, np.float32)
        for i in draw.choice(others, VOICES):
            voice = self._sounds[i]
            level = float(np.sqrt(np.mean(voice**2))) if len(voice) else 0.0
            if level > 0:
                start = int(draw.integers(len(voice)))
                total += np.resize(np.roll(voice, -start), length) / np.float32(level)
        return total


def add(sound: Float, noise: Float, ratio_db: float) -> Float:
    """`sound` with `noise` below it by this ratio of their mean powers; either may be silence."""
    power, other = (
        float(np.mean(part.astype(np.float64) ** 2)) if len(part) else 0.0 for part in (sound, noise)
    )
    if power == 0 or other == 0:
        return sound
    return sound + noise * np.float32(np.sqrt(power / other / 10 ** (ratio_db / 10)))


def through_line(sound: Float, law: str = "mu") -> Float:
    """Through a digital telephone line: 8 kHz, eight bits by G.711, and back; full scale is clipped."""
    narrow = soxr.resample(sound, RATE_HZ, LINE_HZ)
    back = soxr.resample(companded(narrow, law), LINE_HZ, RATE_HZ)[: len(sound)]
    return np.pad(back, (0, len(sound) - len(back))).astype(np.float32)


def companded(samples: Float, law: str) -> Float:
    """The nearest of the 255 or 256 values that G.711 can say, [n].

    Raises:
        ValueError: no such law.
    """
    if law not in LAWS:
        raise ValueError(f"law is {law!r}, allowed are {', '.join(LAWS)}")
    values, borders = _levels(law)
    return values[np.searchsorted(borders, samples)]


@cache
def _levels(law: str) -> tuple[Float, Float]:
    """What the codes of a law stand for, ascending, and the borders between neighbours."""
    code = np.arange(128)
    segment, step = code >> 4, code & 15
    if law == "mu":
        positive: npt.NDArray[np.int64] = (((step << 3) + 132) << segment) - 132
    else:
        linear = (step << 4) + 8
        positive = np.where(segment == 0, linear, (linear + 256) << np.maximum(segment - 1, 0))
    values = (np.unique(np.concatenate((-positive, positive))) / 32768).astype(np.float32)
    return values, (values[1:] + values[:-1]) * np.float32(0.5)
