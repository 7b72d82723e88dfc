"""Roles: who speaks on which channel of a stream, as its packets say it and as an installation knows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RoleWords:
    """What is known about roles besides the packets' headers.

    Args:
        channels: the roles of streams with so many channels whose packets name nobody.
        names: what senders call a role, to what it is called here.

    Example:
        >>> words = RoleWords(("agent", "customer"), {"operator": "agent"})
        >>> words.read("", 2), words.read("Operator,customer", 2), words.read("", 1)
        (('agent', 'customer'), ('agent', 'customer'), ())
    """

    channels: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)

    def read(self, header: str, channels: int) -> tuple[str, ...]:
        """The roles of a stream.

        Args:
            header: what its packets say, with commas.
            channels: how many it has.
        """
        said = [role.strip() for role in header.split(",")] if header.strip() else []
        if not said and channels == len(self.channels):
            return self.channels
        known = {name.lower(): role for name, role in self.names.items()}
        return tuple(known.get(role.lower(), role) for role in said)
