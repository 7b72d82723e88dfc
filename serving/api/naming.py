"""Names that were not quite right: what may have been meant."""

import difflib
from collections.abc import Iterable
from typing import Any


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing where nothing is near.

    Example:
        >>> nearest("chanel", ["channel", "media"])
        '; did you mean channel?'
    """
    near = difflib.get_close_matches(name[:100], list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def unknown_names(names: Iterable[str], route: Any) -> list[str]:
    """What to say about parameters that a route does not have."""
    known = parameters(route)
    listed = f"; there are {', '.join(known)}" if known else ""
    return [f"{name[:100]!r} is not known{nearest(name, known) or listed}" for name in names]


def parameters(route: Any) -> list[str]:
    """The query parameters of a route."""
    dependant = getattr(route, "dependant", None)
    found: list[str] = []
    for field in getattr(dependant, "query_params", ()):
        model = field.field_info.annotation
        fields = getattr(model, "model_fields", None)
        found += list(fields) if fields else [field.alias]
    return found
