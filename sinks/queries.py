"""The views of a lake, and the questions people ask of a whole catalogue.

Conventions: DuckDB SQL; schema `stored` holds the tables as they lie on disk, the views above show what
counts.
"""

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from moodstream.transforms.errors import UsageError

BINS = 32  # points of an arc
LEAST_KNOWN = 0.5  # share of an arc's bins that must have an estimate
LEAST_SPREAD = 0.05  # an arc that moves less than this is not blown up to one that does

VIEWS = """
CREATE TEMP TABLE counted AS
    SELECT media_id, take, write_id, duration_ms FROM stored.media
    QUALIFY row_number() OVER (
        PARTITION BY media_id, take ORDER BY analyzed_at DESC, analysis_id DESC, write_id DESC) = 1;
CREATE VIEW media AS
    SELECT * EXCLUDE (write_id) FROM stored.media SEMI JOIN counted USING (media_id, take, write_id);
CREATE VIEW curve AS
    SELECT * EXCLUDE (write_id) FROM stored.curve SEMI JOIN counted USING (media_id, take, write_id);
CREATE VIEW episode AS
    SELECT * EXCLUDE (write_id) FROM stored.episode SEMI JOIN counted USING (media_id, take, write_id);
CREATE VIEW summary AS
    SELECT * EXCLUDE (write_id) FROM stored.summary SEMI JOIN counted USING (media_id, take, write_id);
CREATE VIEW alert AS
    SELECT * EXCLUDE (write_id) FROM stored.alert SEMI JOIN counted USING (media_id, take, write_id);
CREATE VIEW dead_letter AS
    WITH newest AS (
        SELECT media_id, take, arg_max(analysis_id, write_id) AS analysis_id FROM (
            SELECT media_id, take, analysis_id, write_id FROM stored.media
            UNION ALL SELECT media_id, take, analysis_id, write_id FROM stored.dead_letter)
        GROUP BY ALL)
    SELECT * EXCLUDE (write_id) FROM stored.dead_letter SEMI JOIN newest USING (media_id, take, analysis_id)
    QUALIFY row_number() OVER (PARTITION BY media_id, take, reference ORDER BY write_id DESC) = 1;
CREATE VIEW best_of AS
    SELECT media_id, take, write_id, channel, modality, duration_ms
    FROM stored.summary JOIN counted USING (media_id, take, write_id)
    QUALIFY row_number() OVER (
        PARTITION BY media_id, take, channel
        ORDER BY modality <> 'fused' AND estimated_share = 0,
            list_position(['fused', 'symbolic', 'music', 'speech', 'face'], modality) NULLS LAST) = 1;
CREATE VIEW best AS
    SELECT * EXCLUDE (write_id) FROM stored.curve
    SEMI JOIN best_of USING (media_id, take, write_id, channel, modality);
CREATE VIEW best_summary AS
    SELECT * EXCLUDE (write_id) FROM stored.summary
    SEMI JOIN best_of USING (media_id, take, write_id, channel, modality);
"""

RISING = """
-- `rise`: how far the straight line fitted to the arousal of the last third goes up from its start to its
-- end; at least 10 estimates, and the last third must lie above what came before.
SELECT media_id, take, channel,
    regr_slope(arousal, start_ms) FILTER (last_third) * any_value(duration_ms) / 3 AS rise,
    avg(arousal) FILTER (NOT last_third) AS arousal_before,
    avg(arousal) FILTER (last_third) AS arousal_last_third
FROM (
    SELECT b.media_id, b.take, b.channel, arousal, start_ms, duration_ms,
        start_ms >= 2 * duration_ms / 3 AS last_third
    FROM stored.curve c JOIN best_of b USING (write_id, channel, modality, media_id, take)
    WHERE arousal IS NOT NULL)
GROUP BY media_id, take, channel
HAVING count(*) FILTER (last_third) >= 10 AND rise > 0 AND arousal_last_third > arousal_before
ORDER BY rise DESC, media_id, take, channel
LIMIT $limit
"""

NEAR = """
SELECT media_id, take, channel, valence_mean, arousal_mean, emotion, quadrant,
    sqrt((valence_mean - $valence) ** 2 + (arousal_mean - $arousal) ** 2) AS distance
FROM best_summary WHERE valence_mean IS NOT NULL AND arousal_mean IS NOT NULL
ORDER BY distance, media_id, take, channel
LIMIT $limit
"""

ARCS = """
SELECT media_id, take, channel, least(start_ms * $bins // duration_ms, $bins - 1) AS bin,
    avg(valence) AS valence, avg(arousal) AS arousal
FROM stored.curve JOIN best_of USING (write_id, channel, modality, media_id, take)
WHERE valence IS NOT NULL AND arousal IS NOT NULL AND duration_ms > 0
GROUP BY ALL
"""


def alike(bins: pa.Table, media_id: str, limit: int) -> pl.DataFrame:
    """The media whose arcs are most like that of one.

    An arc is the valence and arousal of a channel at `BINS` points of its length, gaps filled by straight
    lines, each less its mean and divided by its spread. The distance of two arcs is the RMS difference: 0
    for the same shape at any level, 1.4 for shapes that have nothing to do with each other, 2 for opposite
    ones.

    Args:
        bins: the rows of `ARCS`.

    Raises:
        UsageError: The media itself has too few estimates.
    """
    rows = pl.DataFrame(bins)
    tracks = rows.select("media_id", "take", "channel").unique().sort("media_id", "take", "channel")
    place = rows.join(tracks.with_row_index("track"), on=["media_id", "take", "channel"])
    arcs = np.full((len(tracks), 2, BINS), np.nan)
    arcs[place["track"], :, place["bin"]] = place.select("valence", "arousal").to_numpy()
    known = np.isfinite(arcs[:, 0]).mean(axis=1) >= LEAST_KNOWN
    tracks, arcs = tracks.filter(known), _normalised(_filled(arcs[known]))
    mine = (tracks["media_id"] == media_id).to_numpy()
    if not mine.any():
        raise UsageError(f"{media_id!r} has too few estimates to compare its arc")
    distance = np.sqrt(((arcs - arcs[mine][-1]) ** 2).mean(axis=(1, 2)))
    found = tracks.with_columns(distance=pl.Series(distance)).filter(~pl.Series(mine))
    return found.sort("distance", "media_id", "take", "channel").head(limit)


def _filled(arcs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Gaps become straight lines, ends go on as they are. [n, 2, BINS]"""
    x = np.arange(BINS)
    for track in np.flatnonzero(np.isnan(arcs).any(axis=(1, 2))):
        gaps = np.isnan(arcs[track, 0])
        for dimension in arcs[track]:
            dimension[gaps] = np.interp(x[gaps], x[~gaps], dimension[~gaps])
    return arcs


def _normalised(arcs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    arcs = arcs - arcs.mean(axis=2, keepdims=True)
    normalised: npt.NDArray[np.float64] = arcs / np.maximum(arcs.std(axis=2, keepdims=True), LEAST_SPREAD)
    return normalised
