"""Configurations: the example says everything, mistakes are named by path and line."""

from pathlib import Path

import click
import pytest

from moodstream.pipelines import cli as command_line
from moodstream.pipelines.cli import cli, run
from moodstream.pipelines.live_file import read_live_file
from moodstream.pipelines.rule_file import read_rules
from moodstream.transforms.errors import UsageError

EXAMPLE = Path(__file__).resolve().parents[2] / "infra/live.yaml"
LEFT_OUT = {"config", "rules", "emotions_for", "responsible"}  # the first two are of the command line alone


def test_the_example_says_every_option_of_live_and_is_right() -> None:
    file = read_live_file(str(EXAMPLE))
    text = EXAMPLE.read_text()
    for option in cli.commands["live"].params:
        name = max(option.opts, key=len).lstrip("-").replace("-", "_")
        assert name in LEFT_OUT or f"\n{name}:" in text, f"infra/live.yaml does not say {name}"
    defaults = {option.name: option.default for option in cli.commands["live"].params}
    for name in ("window_ms", "idle_s", "snapshot_s", "group", "prefix", "emotions_for"):
        assert str(file.options[name]) == str(defaults[name])
    assert len({rule.name for rule in file.rules}) == len(file.rules) == 10
    assert file.rules == read_rules(EXAMPLE)
    assert file.roles.read("operator, caller", 2) == file.roles.read("", 2) == ("agent", "customer")
    assert file.sections["alerts"]["webhook"] == "http://localhost:8080/alerts"


def test_commands_take_their_options_from_it_and_the_command_line_counts_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: dict[str, object] = {}

    def take(name: str) -> None:
        def note(**more: object) -> int:
            taken.update(more)
            return 0

        monkeypatch.setattr(cli.commands[name], "callback", note)

    for name in ("live", "alerts", "land", "tail", "verify"):
        take(name)
        taken.clear()
        assert run([name, "--config", str(EXAMPLE), "--bootstrap", "other:1"]) == 0
        assert taken["bootstrap"] == "other:1"
        assert taken.get("prefix", "moodstream.") == "moodstream."
        if name == "live":
            assert (taken["topic"], taken["idle_s"], taken["metrics_port"]) == ("packets", 60, 9100)
        if name == "land":
            assert (taken["to"], taken["every_s"], taken["metrics_port"]) == ("lake", 5.0, None)
        if name == "alerts":
            assert (taken["webhook"], taken["begin"]) == ("http://localhost:8080/alerts", "start")


BROKEN = """\
bootstrap: localhost:9092
in: packets
windov_ms: 3
idle_s: soon
kafka: [x]
privacy: {emotions_for: all}
roles:
  channels: agent
  who: x
rules:
  - name: a
    value: valenc
    above: 0.5
  - name: b
    value: talk
    for: 3
webhook:
  uri: x
"""


def test_mistakes_are_named_by_path_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "live.yaml"
    file.write_text(BROKEN)
    assert run(["verify", "--config", str(file), "--offline"]) == 2
    said = capsys.readouterr().err
    for line, words in (
        (3, "windov_ms: is not known; did you mean window_ms?"),
        (4, "idle_s: 'soon' is not a valid integer range"),
        (6, "privacy: emotions of all sides need somebody who answers for it"),
        (8, "roles.channels: is 'agent', expected a list"),
        (9, "roles.who: is not known"),
        (12, "rules[0].value: is 'valenc', which no row has; did you mean valence"),
        (16, "rules[1].for: is not known; did you mean for_s?"),
        (18, "webhook.uri: is not known; did you mean url?"),
    ):
        assert f"{file}:{line}: {words}" in said, said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", ":1: not YAML|:2: not YAML"),
        ("in: x\nin: y", ":2: in: comes twice"),
        ("rules: {a: 1}", ":1: rules: is a mapping, expected a list"),
        ("- a\n- b", ":1: is a list, expected names and values"),
        ("rules:\n- name: x\n  value: !!python/name:os.system y", ":3: not YAML"),
    ],
)
def test_what_is_no_configuration(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "live.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_live_file(str(file))


def test_rules_in_a_file_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("rules:\n- {name: a, value: anger, above: 0.5, on: agent}\n")
    assert read_rules(file, "all")[0].name == "a"
    with pytest.raises(UsageError, match=r":2: rules\[0\].on: is agent, whose anger is not estimated"):
        read_rules(file)
    file.write_text("- {name: a, value: talk, part: {from: 0.5, to: 1}}\n")
    assert read_rules(file)[0].part.at_close
    file.write_text("x: 1\n")
    with pytest.raises(UsageError, match="no list `rules`"):
        read_rules(file)
    with pytest.raises(UsageError, match="cannot read"):
        read_rules(tmp_path / "missing.yaml")


def test_all_needs_somebody_who_answers_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["live", "--bootstrap", "x:1", "--in", "x"], ["analyze", "x", "--out", "y"]):
        assert run([*command, "--emotions-for", "all"]) == 2
        assert "--responsible NAME" in capsys.readouterr().err
        assert run([*command, "--responsible", "Ada"]) == 2
        assert "were not asked for" in capsys.readouterr().err


def test_verify_offline_says_the_rules(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", "--config", str(EXAMPLE), "--offline"]) == 0
    said = capsys.readouterr().out
    assert "critical: anger above 0.5 for 4 s on customer; every 120 s at most" in said
    assert "never: talk for 1 s between 0 and 15 s on agent" in said
    assert isinstance(command_line.cli, click.Group)
