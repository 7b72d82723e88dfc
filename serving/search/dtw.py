"""Dynamic time warping within a band, of one arc against many at once.

The distance of two arcs of P points is the least, over all ways to walk both from start to end, of the
squared distances in the valence-arousal plane added up on the way, divided by P, and the root of that:

    d(x, y) = sqrt(min over paths of sum |x_i - y_j|^2 / P)

A path goes from (0, 0) to (P - 1, P - 1) by steps (1, 0), (0, 1) and (1, 1), and never farther than `band`
points from the diagonal. So 0 is the same arc but for local shifts of at most `band / P` of the track, and
two arcs that stay level lie as far apart as their points do. d is symmetric, but no metric: the triangle
inequality does not hold.

Source: Sakoe and Chiba, Dynamic programming algorithm optimization for spoken word recognition, 1978 (the
band); Keogh and Ratanamahatana, Exact indexing of dynamic time warping, 2005 (`envelope`).
"""

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
BAND = 0.1  # of the track: how far two arcs may be shifted against each other anywhere
_FAR = np.float32(np.inf)


def band_of(count: int) -> int:
    """How many points of `count` the band is wide to either side."""
    return max(1, round(BAND * count))


def distances(query: Float, arcs: Float, band: int | None = None) -> Float:
    """The distance of one arc from each of many.

    All cells (i, j) of the same i + j are worked off at once, for all arcs.

    Args:
        query: [2, P] valence and arousal.
        arcs: [2, P, n].
        band: points to either side of the diagonal; a tenth of P if None.

    Returns:
        [n].

    Raises:
        ValueError: the arcs have not as many points as the query.
    """
    if query.ndim != 2 or arcs.ndim != 3 or arcs.shape[:2] != query.shape:
        raise ValueError(f"a query of {query.shape} does not fit arcs of {arcs.shape}")
    count, n = query.shape[1], arcs.shape[2]
    band = band_of(count) if band is None else band
    valence, arousal = np.ascontiguousarray(arcs, np.float32)
    back = np.ascontiguousarray(query[:, ::-1, None], np.float32)  # point i at count - 1 - i
    # rows by j + 1; before[j + 1] is D[i, j] on the diagonal i + j = s - 1
    last, before, now = (np.full((count + 1, n), _FAR, np.float32) for _ in range(3))
    last[0] = 0  # D[-1, -1] on the diagonal s = -2
    cost, other = (np.empty((2 * band + 2, n), np.float32) for _ in range(2))
    for s in range(2 * count - 1):
        low = max(0, s - count + 1, (s - band + 1) // 2)
        high = min(count - 1, s, (s + band) // 2)
        width = high - low + 1
        if width < 1:  # band 0: only every other diagonal has a cell
            last, before, now = before, now, last
            before[:] = _FAR
            continue
        shift = count - 1 - s  # back[:, shift + j] is point s - j
        mine, along = cost[:width], other[:width]
        np.subtract(valence[low : high + 1], back[0, shift + low : shift + high + 1], out=mine)
        np.multiply(mine, mine, out=mine)
        np.subtract(arousal[low : high + 1], back[1, shift + low : shift + high + 1], out=along)
        np.multiply(along, along, out=along)
        np.add(mine, along, out=mine)
        np.minimum(before[low : high + 1], before[low + 1 : high + 2], out=along)  # D[i, j - 1], D[i - 1, j]
        np.minimum(along, last[low : high + 1], out=along)  # D[i - 1, j - 1]
        np.add(mine, along, out=now[low + 1 : high + 2])
        now[low] = _FAR  # what lies beside the band
        if high + 2 <= count:
            now[high + 2] = _FAR
        last, before, now = before, now, last
    found: Float = np.sqrt(before[count] / count)
    return found


def envelope(query: Float, band: int) -> tuple[Float, Float]:
    """The least and the greatest value of a query within `band` points of each point. Both [2, P]."""
    padded = np.pad(query, ((0, 0), (band, band)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * band + 1, axis=1)
    return windows.min(axis=2), windows.max(axis=2)
