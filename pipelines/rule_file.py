"""Rules as people write them: a YAML file with a list `rules`, alone or within a live configuration.

rules:
  - name: angry customer
    value: anger          # see transforms/rules.py for all values
    above: 0.5
    for_s: 4
    on: customer
    part: last quarter    # or {from_s: 30, to_s: 300}, {from: 0.5, to: 1}, {last_s: 60}
    every_s: 120
    severity: critical
"""

import difflib
from pathlib import Path
from typing import Any

from moodstream.pipelines.marked import Marked, read_yaml
from moodstream.transforms.rules import FIELDS, Rule, Stretch, check_rules

_TEXTS = ("name", "value", "on", "severity", "modality")
_NUMBERS = ("above", "below", "for_s", "over_s", "pause_s", "every_s")
_PARTS = {"from_s": "from_s", "to_s": "to_s", "from": "from_share", "to": "to_share", "last_s": "last_s"}


def read_rules(path: str | Path, emotions_for: str = "customer") -> tuple[Rule, ...]:
    """The rules in a file; what else is in it is left alone.

    Args:
        path: the file.
        emotions_for: whose emotions are estimated: a rule that could never ring is refused.

    Raises:
        UsageError: something cannot be; the message says all of it by path and line.
    """
    whole = read_yaml(path)
    listed = whole.value if isinstance(whole.value, dict) else {}
    found = listed.get("rules", whole if isinstance(whole.value, list) else None)
    if found is None:
        whole.wrong("has no list `rules`")
    rules = parse_rules(found, emotions_for) if found is not None else ()
    whole.problems.raise_any()
    return rules


def parse_rules(listed: Marked, emotions_for: str) -> tuple[Rule, ...]:
    """The rules of a list; what is wrong is noted where it stands."""
    places = list(listed.items())
    rules = [(place, rule) for place in places if (rule := _rule(place)) is not None]
    for number, name, why in check_rules(tuple(rule for _, rule in rules), emotions_for):
        place = rules[number][0].mapping()
        place.get(name, rules[number][0]).wrong(why)
    return tuple(rule for _, rule in rules)


def _rule(place: Marked) -> Rule | None:
    """One rule; None, and what is wrong noted, where it cannot be."""
    before = len(place.problems.found)
    said = place.mapping()
    fields: dict[str, Any] = {}
    for name, each in said.items():
        if name in _TEXTS:
            fields[name] = each.a(str, "")
        elif name in _NUMBERS:
            fields[name] = each.a(float)
        elif name == "negate":
            fields[name] = each.a(bool, False)
        elif name == "at_most":
            fields[name] = each.a(int)
        elif name == "part":
            fields[name] = _part(each)
        else:
            near = difflib.get_close_matches(name, FIELDS, 1)
            each.wrong("is not known" + (f"; did you mean {near[0]}?" if near else f": {', '.join(FIELDS)}"))
    for name in ("name", "value"):
        if name not in said and (said or place.value is None):
            place.wrong(f"has no {name}")
    if len(place.problems.found) > before:
        return None
    try:
        return Rule(**fields)
    except ValueError:
        for name, why in _problems(fields):
            said.get(name, place).wrong(why if name in said else f"{name} {why}")
        return None


def _problems(fields: dict[str, Any]) -> list[tuple[str, str]]:
    """What cannot be about a rule that refuses to be made."""
    rule = object.__new__(Rule)
    plain = Rule("x", "talk")
    for name in FIELDS:
        object.__setattr__(rule, name, fields.get(name, getattr(plain, name)))
    return list(rule.problems())


def _part(place: Marked) -> Stretch:
    if isinstance(place.value, str):
        try:
            return Stretch.named(place.value)
        except ValueError as error:
            place.wrong(str(error))
            return Stretch()
    said = place.mapping()
    fields = {}
    for name, each in said.items():
        if name not in _PARTS:
            each.wrong(f"is not known: {', '.join(_PARTS)}")
        else:
            fields[_PARTS[name]] = each.a(float, 0.0)
    kinds = {"from_s": 0, "to_s": 0, "from_share": 1, "to_share": 1, "last_s": 2}
    if len({kinds[name] for name in fields}) > 1:
        place.wrong("mixes seconds, shares and the last seconds: say one of them")
        return Stretch()
    return Stretch(**fields)
