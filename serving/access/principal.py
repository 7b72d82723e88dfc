"""Who asks, and what he may: a name and scopes.

`read` is what the store holds, `live` what runs now (live rows, the microphone), `admin` what operators look
at (measures, the audit log). A scope does not include another.
"""

from dataclasses import dataclass

SCOPES = ("read", "live", "admin")


@dataclass(frozen=True)
class Principal:
    """Somebody who was let in.

    Args:
        name: as the key file has it; it stands in the audit log.
        scopes: of `SCOPES`.
        key: which key it was, "" where none is needed; never the key itself.
    """

    name: str
    scopes: frozenset[str]
    key: str = ""


ANYONE = Principal("anyone on this machine", frozenset(SCOPES))
