"""How speech is judged: asked alike by every command that runs the models."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def listening_options(command: F) -> F:
    """Adds --model and --one-voice to a command, which gets `speech_model` and `one_voice`."""
    command = click.option(
        "--one-voice",
        is_flag=True,
        help="Each channel is one person all along, as on calls: emotions are judged by how this person "
        "usually sounds, the more so the longer the channel was heard.",
    )(command)
    return click.option(
        "--model",
        "speech_model",
        type=click.Choice(["speech", "small"]),
        default="speech",
        show_default=True,
        help="What judges speech: the full model, or its small student.",
    )(command)
