"""Words for the character of a whole media: its mood, its shape over time, how much it moves.

Conventions: valence and arousal in [-1, 1]; an *arc* is [m, 2] means of valence and arousal over stretches of
5 s or more, with the number of estimated cells behind each as its weight. The thresholds are conventions, set
where a listener would draw the line on the circumplex, not fitted.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Double = npt.NDArray[np.float64]

# Eight sectors of the circumplex (Russell 1980) counter-clockwise from pleasant, each with a mild word and a
# stronger one that joins it further out.
_SECTORS = (
    ("pleasant", "delighted"),
    ("happy", "excited"),
    ("energetic", "intense"),
    ("tense", "angry"),
    ("unpleasant", "distressed"),
    ("sad", "melancholic"),
    ("quiet", "lethargic"),
    ("calm", "relaxed"),
)
CENTRE = 0.1  # nearer to the origin than this there is no mood to speak of
STRONG = 0.35  # further out than this both words hold

STANDS_OUT, MOST_FELT = 1.2, 3  # times the usual share of listeners; how many moods are named

PARTS = 12  # an arc is looked at in at most so many parts
STEADY = 0.15  # an arc whose range is smaller has no shape
SWING = 0.5  # a rise or fall counts when it covers this share of the range
_DYNAMICS = ((0.04, "static"), (0.1, "gentle"), (0.2, "varied"))


def mood_words(valence: float, arousal: float) -> list[str]:
    """One or two words for a place on the valence-arousal plane, milder first.

    Example:
        >>> mood_words(-0.4, 0.5), mood_words(0.2, -0.1), mood_words(0.0, 0.05)
        (['tense', 'angry'], ['calm'], ['balanced'])
    """
    distance = float(np.hypot(valence, arousal))
    if distance < CENTRE:
        return ["balanced"]
    sector = _SECTORS[round(float(np.arctan2(arousal, valence)) / (np.pi / 4)) % 8]
    return list(sector[: 2 if distance >= STRONG else 1])


def felt_words(shares: Mapping[str, float], usual: Sequence[float]) -> list[str]:
    """The moods that more listeners would feel than is usual, at most three, what stands out most first.

    Args:
        shares: of listeners, by mood. usual: the mean shares over the music that the model learned from.

    Returns:
        Those at least a fifth above the usual; where none is, the one that comes nearest.

    Example:
        >>> felt_words({"power": 0.3, "calmness": 0.31, "tension": 0.1}, (0.2, 0.3, 0.2))
        ['power']
    """
    lift = {
        name: share / max(often, 1e-3) for (name, share), often in zip(shares.items(), usual, strict=True)
    }
    ordered = sorted(lift, key=lambda name: -lift[name])
    return [name for name in ordered[:MOST_FELT] if lift[name] >= STANDS_OUT] or ordered[:1]


def profile_word(arc: Double, weights: Double) -> str | None:
    """The shape over time: steady, rising, falling, arch, valley or wave.

    The arc is averaged into at most 12 parts of equal length and smoothed (1-2-1). Of valence and arousal the
    one with the wider range is described (arousal on a tie): below 0.15 it is steady, otherwise its swings
    are counted, a swing being a rise or fall by at least half the range: one is rising or falling, up and
    down an arch, down and up a valley, more a wave.

    Returns:
        None for fewer than three stretches: too short to have a shape.

    Example:
        >>> climb = np.linspace([0, -0.5], [0, 0.5], 20)
        >>> profile_word(climb, np.ones(20)), profile_word(np.abs(climb), np.ones(20))
        ('rising', 'valley')
    """
    if len(arc) < 3:
        return None
    smooth = _smooth(_parts(arc, weights))
    extent = np.ptp(smooth, axis=0)
    line = smooth[:, 0] if extent[0] > extent[1] else smooth[:, 1]
    reach = float(np.ptp(line))
    if reach < STEADY:
        return "steady"
    swings = _swings(line.tolist(), SWING * reach)
    if len(swings) == 1:
        return "rising" if swings[0] > 0 else "falling"
    if len(swings) == 2:
        return "arch" if swings[0] > 0 else "valley"
    return "wave"


def dynamics_word(arc: Double, weights: Double) -> str | None:
    """How much it moves: static, gentle, varied or dramatic.

    By the standard deviation of the arc around its mean (root mean square of valence and arousal): below
    0.04, 0.1 and 0.2, and above.

    Returns:
        None without an arc.

    Example:
        >>> dynamics_word(np.linspace([0, -0.5], [0, 0.5], 20), np.ones(20))
        'dramatic'
    """
    if not len(arc):
        return None
    centre = np.average(arc, axis=0, weights=weights)
    spread = float(np.sqrt(np.average(((arc - centre) ** 2).mean(axis=1), weights=weights)))
    return next((word for limit, word in _DYNAMICS if spread < limit), "dramatic")


def _parts(arc: Double, weights: Double) -> Double:
    edges = np.unique(np.arange(min(PARTS, len(arc))) * len(arc) // min(PARTS, len(arc)))
    return np.asarray(
        np.add.reduceat(arc * weights[:, None], edges, axis=0) / np.add.reduceat(weights, edges)[:, None]
    )


def _smooth(parts: Double) -> Double:
    wide = np.pad(parts, ((1, 1), (0, 0)), mode="edge")
    return np.asarray((wide[:-2] + 2 * wide[1:-1] + wide[2:]) / 4)


def _swings(line: list[float], least: float) -> list[int]:
    """The directions (+1, -1) of the zigzag whose legs are at least `least` long."""
    low = high = line[0]
    swings: list[int] = []
    for value in line[1:]:
        if not swings:
            low, high = min(low, value), max(high, value)
            if high - low >= least:
                swings.append(1 if value == high else -1)
        elif swings[-1] > 0:
            high = max(high, value)
            if high - value >= least:
                swings.append(-1)
                low = value
        else:
            low = min(low, value)
            if value - low >= least:
                swings.append(1)
                high = value
    return swings
