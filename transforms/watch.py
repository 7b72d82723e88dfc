"""Watch: rules judged cell by cell, as rows become final; for batch and live the same.

A rule on a channel is a *line*. While cells fulfil the rule, a *run* grows; half seconds without a value
neither count nor end it, up to the rule's pause. When the run is long enough, the line rings. Live, an alert
is told at once (revision 0, not final) and again when its run is over (revision 1, final, with the whole
span); batch tells the final one only. What looks at a share of the media ("last quarter") is judged at the
end, in both.

Conventions: cells are half seconds from the start of the media; values are NaN where there is none: no
estimate, no loudness, or nothing received (reason `gap`).
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pyarrow as pa

from moodstream.models.base import ACTIVITIES, DIMENSIONS, HAS_MUSIC, HAS_SPEECH, STEP_MS
from moodstream.transforms.curve import CurveBlock, SpanInfo
from moodstream.transforms.elements import Alert
from moodstream.transforms.line import Line, Ring
from moodstream.transforms.rules import SIDES, SUMMARIES, WHOLE, Rule
from moodstream.transforms.tables import to_table

CALL = "call"  # the channel of alerts about a call as a whole
MIX = "mix"
_SWITCHES = {  # by activity
    "talk": HAS_SPEECH.astype(float).tolist(),
    "music": HAS_MUSIC.astype(float).tolist(),
    "silence": [float(activity == "silence") for activity in ACTIVITIES],
}


class Watch:
    """All rules on all channels of one media.

    Args:
        rules: what is looked for.
        live: whether alerts are told while their runs go on.
    """

    def __init__(self, rules: Sequence[Rule], *, live: bool) -> None:
        self.rules, self.live = tuple(rules), live
        self._digests = {rule.digest: rule for rule in self.rules}
        self._lines: dict[tuple[str, str, str], tuple[SpanInfo, Line]] = {}  # by rule, channel, modality
        self._plans: dict[tuple[str, str, bool], list[tuple[Rule, Line]]] = {}  # which a track's cells go to
        self._versions: dict[tuple[str, str], str] = {}  # of the models, by channel and modality
        self._across = [
            (digest, rule) for digest, rule in self._digests.items() if rule.value in (*SIDES, *WHOLE)
        ]
        self._sides: dict[str, SpanInfo | None] = {}  # channels, by when they were opened
        self._talk: dict[str, list[float]] = {}  # of cells from `_at` on, by channel: 0 or 1
        self._at = 0  # cells of all sides that are judged together

    def open(self, channel: str) -> None:
        """There is a channel, whose cells will come."""
        self._sides.setdefault(channel, None)
        self._talk.setdefault(channel, [])

    def push(self, info: SpanInfo, block: CurveBlock, *, is_main: bool) -> list[Alert]:
        """The next final cells of a track.

        Args:
            info: what its rows have in common.
            block: its cells, each once and in order.
            is_main: whether it is the track of its channel that tells every cell.
        """
        alerts: list[Alert] = []
        self._know(info)
        lost = [reason == "gap" for reason in block.reasons.tolist()]
        values: dict[str, list[float]] = {}
        for rule, line in self._plan(info, is_main):
            if rule.value not in values:
                values[rule.value] = _without(lost, _values(rule.value, block))
            if rings := line.push(block.start, values[rule.value]):
                alerts += self._alerts(rule, info, rings)
        if is_main and self._across:
            self.open(info.channel)
            self._sides[info.channel] = info
            if not self._at and not any(map(len, self._talk.values())):
                self._at = block.start  # rules that were not there before
            known = self._talk[info.channel]
            missing = block.start - self._at - len(known)  # below 0 where a side joined late
            known += [0.0] * missing
            known += _without(lost, _values("talk", block))[max(0, -missing) :]
            alerts += self._judge_together()
        return alerts

    def _know(self, info: SpanInfo) -> None:
        """Other models speak of a track than before: its alerts say so from now on."""
        key = info.channel, info.modality
        if self._versions.setdefault(key, info.model_version) == info.model_version:
            return
        self._versions[key] = info.model_version
        for place, (known, line) in self._lines.items():
            if place[1] in (info.channel, CALL, MIX) and place[2] == info.modality:
                self._lines[place] = replace(known, model_version=info.model_version), line

    def close(self, duration_ms: int, summaries: pa.Table | None = None) -> list[Alert]:
        """The media is over.

        Args:
            duration_ms: how long it was.
            summaries: rows of the `summary` table, for rules about these.
        """
        alerts = self._judge_together(at_end=True) if self._across else []
        cells = -(-duration_ms // STEP_MS)
        told = {(row["channel"], row["modality"]): row for row in _rows(summaries)}
        for (digest, _, _), (info, line) in self._lines.items():
            rule = self._digests[digest]
            if rule.value in SUMMARIES:
                value = _summed(rule.value, told.get((info.channel, info.modality), {}))
                rings = line.sum_up(cells, value)
            else:
                rings = line.close(cells)
            alerts += self._alerts(rule, info, rings, duration_ms)
        return alerts

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as plain Python and numpy."""
        return {
            "lines": [
                [digest, asdict(info), line.state()] for (digest, *_), (info, line) in self._lines.items()
            ],
            "sides": [[name, None if info is None else asdict(info)] for name, info in self._sides.items()],
            "talk": {name: np.array(values, np.float16) for name, values in self._talk.items()},
            "at": self._at,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`; rules that it does not know begin now, and those that are gone end."""
        for digest, info, saved in state["lines"]:
            if digest in self._digests:
                known = SpanInfo(**info)
                self._line(digest, known).restore(saved)
                self._versions[known.channel, known.modality] = known.model_version
        self._sides = {name: None if info is None else SpanInfo(**info) for name, info in state["sides"]}
        self._talk = {name: values.tolist() for name, values in state["talk"].items()}
        self._at = state["at"]

    # ------------------------------------------------------------ sides together

    def _judge_together(self, *, at_end: bool = False) -> list[Alert]:
        """Cells that all sides have told: who talks over whom, and where nobody does."""
        alerts: list[Alert] = []
        upto = (max if at_end else min)(map(len, self._talk.values()), default=0)
        if not upto:
            return alerts
        columns = []
        for name, known in self._talk.items():
            columns.append([*known[:upto], *[0.0] * (upto - len(known))])
            self._talk[name] = known[upto:]
        start, self._at = self._at, self._at + upto
        talkers = [sum(side == 1 for side in cell) for cell in zip(*columns, strict=True)]
        infos = [(info, row) for row, info in enumerate(self._sides.values()) if info is not None]
        for digest, rule in self._across:
            if rule.value in WHOLE:
                info = infos[0][0]
                whole = replace(info, channel=MIX if info.channel == MIX else CALL, role=None)
                if rule.value == "elapsed_s":
                    values = [(cell + 1) * STEP_MS / 1000 for cell in range(start, self._at)]
                else:
                    cells = zip(*columns, strict=True)
                    pairs = zip(talkers, cells, strict=True)
                    values = [math.nan if any(map(math.isnan, cell)) else float(not n) for n, cell in pairs]
                alerts += self._alerts(rule, whole, self._line(digest, whole).push(start, values))
                continue
            for info, row in infos:
                if rule.is_on(info.channel, info.role):
                    own = zip(columns[row], talkers, strict=True)
                    values = [math.nan if math.isnan(side) else float(side == 1 and n > 1) for side, n in own]
                    alerts += self._alerts(rule, info, self._line(digest, info).push(start, values))
        return alerts

    # ------------------------------------------------------------ lines and rows

    def _plan(self, info: SpanInfo, is_main: bool) -> list[tuple[Rule, Line]]:
        """The rules that a track's own cells are judged by, each with its line."""
        key = info.channel, info.modality, is_main
        if key not in self._plans:
            self._plans[key] = []
            for digest, rule in self._digests.items():
                is_meant = rule.modality == info.modality if rule.modality else is_main
                if (digest, rule) in self._across or not is_meant or not rule.is_on(info.channel, info.role):
                    continue
                line = self._line(digest, info)
                if rule.value not in SUMMARIES:
                    self._plans[key].append((rule, line))
        return self._plans[key]

    def _line(self, digest: str, info: SpanInfo) -> Line:
        key = digest, info.channel, info.modality
        if key not in self._lines:
            self._lines[key] = info, Line(self._digests[digest], live=self.live)
        return self._lines[key][1]

    def _alerts(
        self, rule: Rule, info: SpanInfo, rings: Sequence[Ring], duration_ms: int | None = None
    ) -> Iterator[Alert]:
        for ring in rings:
            end_ms = ring.end_cell * STEP_MS
            columns = info.columns() | {"revision": ring.revision, "is_final": ring.is_final}
            yield Alert(
                **columns,
                start_ms=ring.start_cell * STEP_MS,
                end_ms=end_ms if duration_ms is None else min(end_ms, duration_ms),
                rule=rule.name,
                severity=rule.severity,
                value=ring.value,
                threshold=rule.for_s if ring.is_absence else rule.threshold,
                evidence=json.dumps(evidence(rule, ring)),
            )


def alert_rows(alerts: Sequence[Alert]) -> dict[str, list[pa.Table]]:
    """Alerts as rows by table name; nothing where there are none."""
    return {"alert": [to_table("alert", alerts)]} if alerts else {}


def evidence(rule: Rule, ring: Ring) -> dict[str, Any]:
    """What an alert rests on: the rule in words, how long it held, its mean and its worst half second."""
    found: dict[str, Any] = {"rule": str(rule), "held_s": ring.held * STEP_MS / 1000}
    if not ring.is_absence:
        found |= {"mean": round(ring.value, 4), "worst": round(ring.worst, 4)}
        found |= {"worst_ms": ring.worst_cell * STEP_MS}
    return found | {"told_ms": ring.told_cell * STEP_MS}


def evidence_words(text: str) -> str:
    """The evidence of an alert as a line for people.

    Example:
        >>> evidence_words('{"rule": "anger above 0.5 for 4 s", "held_s": 6, "worst": 0.81, "worst_ms": 500}')
        'anger above 0.5 for 4 s: held 6 s, up to 0.81 at 0.5 s'
    """
    try:
        found = json.loads(text)
        said = f"{found['rule']}: held {found['held_s']:g} s"
        if "worst" in found:
            way = "down to" if " below " in found["rule"] else "up to"
            said += f", {way} {found['worst']:.2f} at {found['worst_ms'] / 1000:g} s"
    except (ValueError, KeyError, TypeError):
        return text  # of another version, or of somebody else
    return said


def _rows(table: pa.Table | None) -> list[dict[str, Any]]:
    return [] if table is None else table.to_pylist()


def _summed(value: str, row: Mapping[str, Any]) -> float:
    """A number of a summary, NaN where it has none."""
    name = value.partition(".")[2]
    if name.startswith("sentiment_q"):
        quarters = row.get("sentiment_by_quarter")
        number = quarters[int(name[-1]) - 1] if quarters else None
    else:
        number = row.get(name)
    return math.nan if number is None else float(number)


def _values(name: str, block: CurveBlock) -> list[float]:
    """A value of the curve's rows, [n]; NaN where there is none."""
    if name == "loudness_lufs":
        known = block.loudness.tolist()
        return [value if math.isfinite(value) else math.nan for value in known]
    if name in _SWITCHES:
        return [_SWITCHES[name][activity] for activity in block.activity.tolist()]
    if name in block.labels:
        column = block.scores[:, block.labels.index(name)]
    else:
        of, is_std = name.removesuffix("_std"), name.endswith("_std")
        if of not in DIMENSIONS:
            return [math.nan] * len(block)  # a label that this track does not have
        column = (block.std if is_std else block.mean)[:, DIMENSIONS.index(of)]
    pairs = zip(column.tolist(), block.estimated.tolist(), strict=True)
    return [value if estimated and math.isfinite(value) else math.nan for value, estimated in pairs]


def _without(lost: list[bool], values: list[float]) -> list[float]:
    """Values, NaN where nothing was received."""
    if not any(lost):
        return values
    return [math.nan if gone else value for gone, value in zip(lost, values, strict=True)]
