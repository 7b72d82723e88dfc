"""Rules: what can be said, what cannot, and what it means in words and cells."""

import pytest

from moodstream.transforms.rules import SUMMARIES, VALUES, Rule, Stretch, check_rules, in_cells


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"value": "angr", "above": 0.5}, "did you mean anger"),
        ({"value": "qqqqq", "above": 0.5}, "no row has: valence"),
        ({"value": "valence"}, "one of both, not none"),
        ({"value": "valence", "above": 0.1, "below": 0.3}, "not both"),
        ({"value": "valence", "above": float("nan")}, "above is nan"),
        ({"value": "anger", "above": 0.5, "for_s": 0.0}, "for_s is 0, expected 0.5"),
        ({"value": "anger", "above": 0.5, "every_s": -1.0}, "every_s is -1"),
        ({"value": "anger", "above": 0.5, "at_most": 0}, "at_most is 0"),
        ({"value": "anger", "above": 0.5, "severity": "bad"}, "severity is 'bad'"),
        ({"value": "anger", "above": 0.5, "modality": "mood"}, "modality is 'mood'"),
        ({"value": "anger", "above": 0.5, "on": ""}, "on is empty"),
        ({"value": "non_talk", "on": "agent"}, "of the call as a whole"),
        ({"value": "talk", "for_s": 40.0, "part": Stretch(from_s=10, to_s=30)}, "no room for 40 s"),
        ({"value": "talk", "for_s": 40.0, "part": Stretch(last_s=30)}, "no room for 40 s"),
        ({"value": "talk", "part": Stretch(from_share=0.8, to_share=0.5)}, "from < to"),
        ({"value": "summary.interruptions", "above": 3, "for_s": 4.0}, "no meaning"),
        ({"value": "summary.interruptions", "above": 3, "part": Stretch(last_s=9)}, "no meaning"),
        ({"value": "elapsed_s", "above": 60, "negate": True}, "no meaning"),
        ({"value": "talk", "name": "a\nb"}, "printable"),
        ({"value": "talk", "name": "x" * 65}, "printable"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(fields: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Rule(**{"name": "r"} | fields)  # type: ignore[arg-type]


def test_every_value_can_be_asked_for() -> None:
    for value in VALUES:
        assert str(Rule("r", value, above=0.5)).startswith(value)
    assert len(set(VALUES)) == len(VALUES) > len(SUMMARIES) > 10


@pytest.mark.parametrize(
    ("words", "cells"),
    [
        ("last quarter", (30, 40)),
        ("first quarter", (0, 10)),
        ("third quarter", (20, 30)),
        ("second half", (20, 40)),
        ("last third", (27, 40)),
    ],
)
def test_parts_by_name(words: str, cells: tuple[int, int]) -> None:
    part = Stretch.named(words)
    assert part.at_close
    assert part.cells(40) == cells


@pytest.mark.parametrize("words", ["last fifth", "third third", "third half", "quarter", "", "next half"])
def test_parts_that_are_not_there(words: str) -> None:
    with pytest.raises(ValueError, match=r"expected such as|there are only"):
        Stretch.named(words)


def test_elapsed_parts_are_known_while_it_runs() -> None:
    assert not Stretch(from_s=10, to_s=20).at_close
    assert Stretch(from_s=10, to_s=20).cells(100) == (20, 40)
    assert Stretch(from_s=10, to_s=20).cells(30) == (20, 30)
    assert Stretch(last_s=5).at_close
    assert Stretch(last_s=5).cells(100) == (90, 100)
    assert [in_cells(seconds) for seconds in (0.5, 0.6, 1.0, 0.1 * 3 * 5)] == [1, 2, 2, 3]


def test_words_and_digests() -> None:
    one = Rule("r", "valence", below=-0.2, for_s=10, on="customer", part=Stretch.named("last quarter"))
    assert str(one) == "valence below -0.2 for 10 s between 75% and 100% of it on customer"
    assert str(Rule("q", "non_talk", for_s=20)) == "non_talk for 20 s"
    assert str(Rule("a", "talk", for_s=2, negate=True, on="agent", part=Stretch(to_s=30))) == (
        "never: talk for 2 s between 0 and 30 s on agent"
    )
    same = Rule("r", "valence", below=-0.2, for_s=10, on="customer", part=Stretch(0, None, 0.75, 1.0))
    assert one.digest == same.digest != Rule("r", "valence", below=-0.2, for_s=10).digest


def test_rules_together() -> None:
    rules = (Rule("a", "talk"), Rule("a", "anger", above=0.5, on="agent"), Rule("b", "talk", on="agent"))
    found = list(check_rules(rules, "customer"))
    assert [(number, name) for number, name, _ in found] == [(1, "name"), (1, "on")]
    assert [name for _, name, _ in check_rules(rules, "all")] == ["name"]
