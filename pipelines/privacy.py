"""Whose emotions are estimated on calls, and who answers for it: asked and said alike everywhere."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
EMOTIONS_FOR = ("customer", "all")


def privacy_options(command: F) -> F:
    """Adds --emotions-for and --responsible to a command, which gets them under these names."""
    command = click.option(
        "--responsible",
        metavar="NAME",
        default="",
        help="Who answers for `--emotions-for all`, which needs it: written into every row.",
    )(command)
    return click.option(
        "--emotions-for",
        type=click.Choice(EMOTIONS_FOR),
        default="customer",
        show_default=True,
        help="On calls: whose emotions are estimated. Inferring those of employees at work is forbidden "
        "in the EU (AI Act, Art. 5(1)(f)); `all` is written into every row, with who is responsible.",
    )(command)


def why_not(emotions_for: str, responsible: str) -> str | None:
    """What is wrong with a choice; None if nothing."""
    if emotions_for == "all" and not responsible.strip():
        return "emotions of all sides need somebody who answers for it: --responsible NAME"
    if emotions_for != "all" and responsible.strip():
        return f"{responsible!r} is responsible for emotions of all, but these were not asked for"
    if len(responsible) > 200 or not responsible.isprintable():
        return "the responsible are named in at most 200 printable characters"
    return None


def check_privacy(emotions_for: str, responsible: str) -> None:
    """See that somebody answers for what is forbidden by default.

    Raises:
        click.UsageError: nobody does.
    """
    why = why_not(emotions_for, responsible)
    if why is not None:
        raise click.UsageError(why)


def said(emotions_for: str, responsible: str) -> str:
    """What the log of a run says about it.

    Example:
        >>> said("customer", "")
        'calls: emotions of customers only'
    """
    if emotions_for == "all":
        return f"calls: emotions of ALL sides; responsible: {responsible or 'nobody was named'}"
    return "calls: emotions of customers only"
