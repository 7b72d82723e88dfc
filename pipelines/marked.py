"""YAML that knows where each value stands, so that what is wrong can be said by path and line.

Only plain data: mappings, lists, texts, numbers, true, false and null. A name that comes twice in a mapping
is an error.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from moodstream.transforms.errors import UsageError

_MOST = 20  # problems said at once
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list"}


@dataclass
class Problems:
    """What is wrong in one file; collected, so that all of it can be said at once."""

    file: str
    found: list[tuple[int, str]] = field(default_factory=list)  # line, and what is said

    def add(self, line: int, path: str, why: str) -> None:
        self.found.append((line, f"{self.file}:{line}: {path + ': ' if path else ''}{why}"))

    def raise_any(self) -> None:
        """Say them.

        Raises:
            UsageError: there are some.
        """
        if self.found:
            said = [text for _, text in sorted(self.found, key=lambda one: one[0])]
            more = len(said) - _MOST
            raise UsageError("\n".join([*said[:_MOST], *([f"and {more} more"] if more > 0 else [])]))


@dataclass(frozen=True)
class Marked:
    """A value, its path in the file (`rules[2].above`) and its line."""

    value: Any  # a mapping or list holds `Marked` values
    path: str
    line: int
    problems: Problems

    def wrong(self, why: str) -> None:
        """Note what is wrong with it."""
        self.problems.add(self.line, self.path, why)

    def plain(self) -> Any:
        """The value without marks."""
        if isinstance(self.value, dict):
            return {name: each.plain() for name, each in self.value.items()}
        return [each.plain() for each in self.value] if isinstance(self.value, list) else self.value

    def mapping(self) -> dict[str, "Marked"]:
        """Its values by name; none, and a problem noted, where it is no mapping."""
        if isinstance(self.value, dict):
            return self.value
        if self.value is not None:
            self.wrong(f"is {self.shown}, expected names and values")
        return {}

    def items(self) -> Iterator["Marked"]:
        """The values of a list; none, and a problem noted, where it is no list."""
        if isinstance(self.value, list):
            yield from self.value
        elif self.value is not None:
            self.wrong(f"is {self.shown}, expected a list")

    def a(self, kind: type, default: Any = None) -> Any:
        """The value if it is of this kind, else the default, and a problem noted."""
        if kind is float and type(self.value) is int:
            return float(self.value)
        if type(self.value) is not kind:
            self.wrong(f"is {self.shown}, expected {_KINDS[kind]}")
            return default
        return self.value

    @property
    def shown(self) -> str:
        if isinstance(self.value, dict | list):
            return "a mapping" if isinstance(self.value, dict) else "a list"
        return "empty" if self.value is None else repr(self.value)[:80]


def read_yaml(path: str | Path) -> Marked:
    """A YAML file.

    Raises:
        UsageError: it cannot be read or is no YAML; the message names file and line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    problems = Problems(str(path))
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        marked = _marked(node, "", problems) if node else Marked(None, "", 1, problems)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{path}:{line}: not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not YAML: {error}") from error
    problems.raise_any()
    return marked


def _marked(node: yaml.Node, path: str, problems: Problems, deep: int = 0) -> Marked:
    line = node.start_mark.line + 1
    if deep > 20:
        problems.add(line, path, "is nested too deeply")
        return Marked(None, path, line, problems)
    if isinstance(node, yaml.MappingNode):
        values: dict[str, Marked] = {}
        for key, value in node.value:
            name = str(key.value)
            below = f"{path}.{name}" if path else name
            if name in values:
                problems.add(key.start_mark.line + 1, below, "comes twice")
            values[name] = _marked(value, below, problems, deep + 1)
        return Marked(values, path, line, problems)
    if isinstance(node, yaml.SequenceNode):
        each = [_marked(one, f"{path}[{i}]", problems, deep + 1) for i, one in enumerate(node.value)]
        return Marked(each, path, line, problems)
    return Marked(yaml.SafeLoader("").construct_object(node), path, line, problems)
