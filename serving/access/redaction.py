"""Agents' emotions do not leave the service: the one choke point for rows on their way out.

A lake may hold them, written with `--emotions-for all` and the name of who answers for that. Whoever serves
it says so once more (`ServeConfig.emotions_for`); if not, rows about anybody but a customer lose what was
judged (reason `role`), and their episodes, and alerts about what was judged, vanish. How long and how loudly
somebody talked stays.

Conventions: a row is a customer's if its role is `customer`. Without a role it is nobody's (music, a video)
unless it comes from a call: a channel apart, or a mix of sides that cannot be told apart. Whether a mix is a
call's is known from the media's kind; where that is not given and the emotions of all were asked for, it
counts as one.
"""

import json
import re
from collections.abc import Container
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from moodstream.transforms.rules import SIDES, SWITCHES, WHOLE

CUSTOMER = "customer"
MIX = "mix"
_THREE = ("valence", "arousal", "dominance")
_INSTEAD: dict[str, dict[str, object]] = {  # what stands there instead of what was judged
    "curve": {
        **dict.fromkeys((*_THREE, *(f"{name}_std" for name in _THREE), "emotion_scores")),
        "modalities": [],
        "reason": "role",
    },
    "summary": {
        **dict.fromkeys(f"{name}_{what}" for name in _THREE for what in ("mean", "std", "slope")),
        **dict.fromkeys(("emotion", "emotion_scores", "quadrant", "quadrant_shares", "emotion_shares")),
        **dict.fromkeys(("profile", "dynamics", "representative_start_ms", "sentiment_by_quarter")),
        "moods": [],
        "estimated_share": 0.0,
    },
}
_COUNTED = ("loudness_lufs_mean", "talk_ms", "non_talk_ms", "interruptions", "overlap_ms")
_UNJUDGED = frozenset((*SWITCHES, *SIDES, *WHOLE, "loudness_lufs", *(f"summary.{name}" for name in _COUNTED)))
_ABOUT = re.compile(r"(?:never: )?(?:mean of \S+ s of )?(\S+)")


class Judging(Protocol):
    """What of the configuration is asked."""

    @property
    def emotions_for(self) -> str: ...


def redact(table: str, rows: pa.Table, config: Judging, calls: Container[str] | None = None) -> pa.Table:
    """Rows as they may leave.

    Args:
        table: whose rows these are, `curve`, `summary`, ...
        rows: with the columns of the table, or some of them; without a column `role` everybody counts as an
            agent.
        config: `emotions_for` is `customer` or `all`.
        calls: media ids of kind `call` (others are none); None if not known.

    Returns:
        The same schema; fewer rows where episodes or alerts vanish.
    """
    if config.emotions_for == "all" or not len(rows) or table in ("media", "dead_letter"):
        return rows
    withheld = _withheld(rows, calls)
    if not pc.any(withheld).as_py():
        return rows
    if table == "episode":
        return rows.filter(pc.invert(withheld))
    if table == "alert":
        return rows.filter(pc.invert(pc.and_(withheld, _is_judged(rows))))
    for name, value in _INSTEAD[table].items():
        place = rows.schema.get_field_index(name)
        if place >= 0:
            kind = rows.schema.field(place)
            put = pc.if_else(withheld, pa.scalar(value, kind.type), rows.column(place))
            rows = rows.set_column(place, kind, put)
    return rows


def _withheld(rows: pa.Table, calls: Container[str] | None) -> pa.ChunkedArray | pa.Array:
    """Which rows are about somebody whose emotions stay here."""
    if "role" not in rows.column_names:
        return pa.repeat(pa.scalar(True), len(rows))
    role = rows["role"].cast(pa.string())
    nobody = role.is_null()
    if "channel" in rows.column_names:
        nobody = pc.and_(nobody, pc.equal(rows["channel"].cast(pa.string()), MIX))
    if calls is not None and "media_id" in rows.column_names:
        names = rows["media_id"].cast(pa.string())
        among = [name for name in pc.unique(names).to_pylist() if name in calls]
        nobody = pc.and_(nobody, pc.invert(pc.is_in(names, value_set=pa.array(among, pa.string()))))
    elif "emotions_for" in rows.column_names:
        nobody = pc.and_(nobody, pc.not_equal(rows["emotions_for"].cast(pa.string()), "all"))
    mine = pc.fill_null(pc.equal(role, CUSTOMER), False)
    return pc.invert(pc.or_(mine, nobody))


def _is_judged(rows: pa.Table) -> pa.Array:
    """Which alerts rest on emotions: all that do not say that they rest on something else."""
    if "evidence" not in rows.column_names:
        return pa.repeat(pa.scalar(True), len(rows))
    return pa.array([_about(text) not in _UNJUDGED for text in rows["evidence"].to_pylist()], pa.bool_())


def _about(evidence: str) -> str:
    """The value that the rule of an alert looked at, "" if it cannot be told.

    Example:
        >>> _about('{"rule": "never: mean of 5 s of anger above 0.5 for 4 s on agent"}')
        'anger'
    """
    try:
        rule = json.loads(evidence)["rule"]
        found = _ABOUT.match(rule)
    except (ValueError, KeyError, TypeError):
        return ""
    return found[1] if found else ""
