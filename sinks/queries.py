"""The views of a lake, and the questions people ask of a whole catalogue.

Conventions: DuckDB SQL; schema `stored` holds the tables as they lie on disk, the views above show what
counts.
"""

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
