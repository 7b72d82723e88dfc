"""What all commands about Kafka are told in the same way."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from moodstream.sinks.cluster import Cluster

F = TypeVar("F", bound=Callable[..., Any])


def kafka_options(command: F) -> F:
    """Adds --bootstrap and --kafka to a command, which gets them as `bootstrap` and `kafka`."""
    command = click.option(
        "--kafka",
        metavar="NAME=VALUE",
        multiple=True,
        help="A setting of the connection as kafka-python calls it, e.g. security_protocol=SASL_SSL; may be "
        "given several times. A value @FILE is read from a file.",
    )(command)
    return click.option(
        "--bootstrap", metavar="HOST:PORT", required=True, help="Where Kafka is; several with commas."
    )(command)


prefix_option = click.option(
    "--out-prefix",
    "prefix",
    default="moodstream.",
    show_default=True,
    help="What the names of the topics of results begin with.",
)


def topic_option(command: F) -> F:
    """Adds --in to a command, which gets it as `topic`."""
    return click.option("--in", "topic", metavar="TOPIC", required=True, help="The topic of packets.")(
        command
    )


def group_option(help: str, name: str = "--group", default: str = "moodstream") -> Callable[[F], F]:
    """Adds --group, or what it is called, to a command."""
    return click.option(name, default=default, show_default=True, help=help)


def cluster_of(bootstrap: str, kafka: tuple[str, ...]) -> "Cluster":
    """The cluster that the options name.

    Raises:
        click.UsageError: a setting without a value, or a file that cannot be read.
    """
    from pathlib import Path

    from moodstream.sinks.cluster import Cluster

    settings: list[tuple[str, Any]] = []
    for word in kafka:
        name, is_set, value = word.partition("=")
        if not is_set or not name.isidentifier():
            raise click.UsageError(f"--kafka {word}: expected NAME=VALUE")
        if value.startswith("@"):
            try:
                value = Path(value[1:]).read_text().strip()
            except OSError as error:
                raise click.UsageError(f"--kafka {name}: {error}") from error
        settings.append((name, _typed(value)))
    return Cluster(bootstrap, tuple(settings))


def _typed(value: str) -> Any:
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    return int(value) if value.isdigit() else value
