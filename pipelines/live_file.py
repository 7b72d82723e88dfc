"""The configuration of a live run: one YAML file for `live`, `verify`, `alerts`, `land`, `tail` and `serve`.

Every option of `moodstream live` is a name in it, without dashes in front. Sections hold what is no option:

    bootstrap: localhost:9092
    kafka: {security_protocol: SASL_SSL, sasl_plain_password: "@/run/secrets/kafka"}
    in: packets
    privacy: {emotions_for: customer}     # or all, with responsible: NAME
    roles: {channels: [agent, customer], names: {operator: agent}}
    rules: [...]                          # pipelines/rule_file.py
    webhook: {url: https://..., secret: "@/run/secrets/webhook"}
    land: {to: lake}
    serve: {lake: lake, port: 8080}

What the command line says counts more. infra/live.yaml is an example of all.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

from moodstream.pipelines.privacy import why_not
from moodstream.transforms.roles import RoleWords

if TYPE_CHECKING:  # help must be there at once
    from moodstream.pipelines.marked import Marked
    from moodstream.transforms.rules import Rule

F = TypeVar("F", bound=Callable[..., Any])
_META = "moodstream.live_file"
_OWN = ("privacy", "roles", "rules")
# sections with the options of another command
_OF_COMMANDS = {"webhook": "alerts", "land": "land", "serve": "serve"}
# by all commands
_SHARED = {"bootstrap", "kafka", "prefix", "topic", "group", "log_json", "emotions_for", "responsible"}
_NOT_IN_FILES = {"config", "rules"}


@dataclass(frozen=True)
class LiveFile:
    """What a configuration says."""

    options: Mapping[str, Any] = field(default_factory=dict)  # of `live`, by parameter
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of other commands, likewise
    rules: tuple["Rule", ...] = ()
    roles: RoleWords = field(default_factory=RoleWords)

    def defaults(self, command: click.Command) -> dict[str, Any]:
        """What it says about the options of a command, by parameter."""
        own = self.sections.get(str(command.name), {})
        names = {parameter.name for parameter in command.params}
        said = {n: v for n, v in self.options.items() if command.name == "live" or n in _SHARED}
        return {name: value for name, value in {**said, **own}.items() if name in names}


def config_option(command: F) -> F:
    """Adds --config to a command: its other options default to what the file says; `current` gives all."""
    return click.option(
        "--config",
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=_read,
        help="A YAML file with these options, rules, roles and privacy; see infra/live.yaml.",
    )(command)


def current() -> LiveFile:
    """The configuration that the running command was given; an empty one if none."""
    found = click.get_current_context().meta.get(_META, LiveFile())
    if not isinstance(found, LiveFile):
        raise TypeError(f"{_META} holds {type(found).__name__}")
    return found


def _read(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        file = ctx.meta[_META] = read_live_file(value)
        ctx.default_map = {**(ctx.default_map or {}), **file.defaults(ctx.command)}


def read_live_file(path: str) -> LiveFile:
    """Read and check a configuration.

    Raises:
        UsageError: something in it cannot be; the message says all of it by path and line.
    """
    from moodstream.pipelines.cli import cli  # it imports the commands, which import this
    from moodstream.pipelines.marked import read_yaml
    from moodstream.pipelines.rule_file import parse_rules

    whole = read_yaml(path)
    said = whole.mapping()
    live = cli.commands["live"]
    known = {**_names(live), **dict.fromkeys((*_OWN, *_OF_COMMANDS))}
    options = _options({name: said[name] for name in said if name not in (*_OWN, *_OF_COMMANDS)}, live, known)
    options |= _privacy(said.get("privacy"))
    sections = {
        command: _options(said[name].mapping(), cli.commands[command], _names(cli.commands[command]))
        for name, command in _OF_COMMANDS.items()
        if name in said
    }
    emotions_for = options.get("emotions_for", "customer")
    rules = parse_rules(said["rules"], emotions_for) if "rules" in said else ()
    roles = _roles(said["roles"]) if "roles" in said else RoleWords()
    whole.problems.raise_any()
    return LiveFile(options, sections, rules, roles)


def _names(command: click.Command) -> dict[str, click.Option]:
    """The options of a command as they are called in a file: with _ for -."""
    found = {}
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            name = max(parameter.opts, key=len).lstrip("-").replace("-", "_")
            if name not in _NOT_IN_FILES | {"emotions_for", "responsible"}:
                found[name] = parameter
    if command.name == "alerts":
        found["url"] = found.pop("webhook")
    return found


def _options(
    said: Mapping[str, "Marked"], command: click.Command, known: Mapping[str, Any]
) -> dict[str, Any]:
    """Values of options by parameter; what is wrong is noted where it stands."""
    found: dict[str, Any] = {}
    for written, place in said.items():
        name = written.replace("-", "_")
        option = known.get(name)
        if not isinstance(option, click.Option):
            near = difflib.get_close_matches(name, known, 1)
            place.wrong("is not known" + (f"; did you mean {near[0]}?" if near else ""))
            continue
        value = _value(place, option)
        if value is not None:
            found[str(option.name)] = value
    return found


def _value(place: "Marked", option: click.Option) -> Any:
    """A value as the command line would give it; None, and what is wrong noted, where it cannot be."""
    if option.multiple:
        if isinstance(place.value, list):
            return [each.a(str, "") for each in place.items()]
        return [f"{name}={_text(each)}" for name, each in place.mapping().items()]
    if option.is_flag:
        return place.a(bool)
    if isinstance(place.value, dict | list) or place.value is None:
        place.wrong(f"is {place.shown}, expected a value")
        return None
    text = _text(place)
    try:
        option.type.convert(text, option, None)
    except click.BadParameter as error:
        place.wrong(error.message)
        return None
    return text


def _text(place: "Marked") -> str:
    value = place.value
    if isinstance(value, dict | list) or value is None:
        place.wrong(f"is {place.shown}, expected a value")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _privacy(place: "Marked | None") -> dict[str, Any]:
    if place is None:
        return {}
    found = {"emotions_for": "customer", "responsible": ""}
    for name, each in place.mapping().items():
        if name not in found:
            each.wrong("is not known: emotions_for, responsible")
        else:
            found[name] = each.a(str, "")
    if found["emotions_for"] not in ("customer", "all"):
        place.mapping()["emotions_for"].wrong(f"is {found['emotions_for']!r}, expected customer or all")
    elif why := why_not(found["emotions_for"], found["responsible"]):
        place.wrong(why)
    return found


def _roles(place: "Marked") -> RoleWords:
    channels: tuple[str, ...] = ()
    names: dict[str, str] = {}
    for name, each in place.mapping().items():
        if name == "channels":
            channels = tuple(one.a(str, "") for one in each.items())
        elif name == "names":
            names = {said: one.a(str, "") for said, one in each.mapping().items()}
        else:
            each.wrong("is not known: channels, names")
    return RoleWords(channels, names)
