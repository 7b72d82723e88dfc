"""Roles: who speaks on which channel of a stream, as its packets say it and as an installation knows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

CALL_ROLES = {"agent", "customer"}


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


def unheard(roles: Sequence[str], channels: int, *, split: bool) -> str:
    """Why roles of a call do not find their channels, and what follows from it; empty where they do.

    Args:
        channels: how many there are.
        split: whether these are kept apart.

    Example:
        >>> unheard(("agent", "customer"), 1, split=True)
        "1 channel for agent, customer: who speaks cannot be told, so the call counts as the agent's"
        >>> unheard(("agent", "customer"), 2, split=True)
        ''
    """
    if not CALL_ROLES & set(roles) or (split and len(roles) == channels):
        return ""
    there = f"{channels} channel{'s' * (channels != 1)} for {', '.join(roles)}"
    if split and len(roles) < channels:
        return f"{there}: who speaks on the others is not known"
    mixed = " mixed into one" if channels > 1 else ""
    return f"{there}{mixed}: who speaks cannot be told, so the call counts as the agent's"
