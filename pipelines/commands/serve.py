"""`moodstream serve`: the lake and the live topics for browsers and programs."""

from typing import TYPE_CHECKING

import click

from moodstream.pipelines.kafka_options import prefix_option
from moodstream.pipelines.live_file import config_option
from moodstream.pipelines.operations import logs, operation_options
from moodstream.pipelines.privacy import check_privacy, privacy_options

if TYPE_CHECKING:
    from moodstream.serving.config import ServeConfig


@click.command(no_args_is_help=True)
@config_option
@click.option("--lake", metavar="LAKE", required=True, help="The lake that is served.")
@click.option("--bootstrap", metavar="HOST:PORT", help="Where Kafka is, for live rows; several with commas.")
@click.option(
    "--kafka",
    metavar="NAME=VALUE",
    multiple=True,
    help="A setting of that connection as kafka-python calls it; may be given several times. A value @FILE "
    "is read from a file.",
)
@prefix_option
@click.option(
    "--media-root",
    "media_roots",
    metavar="DIR",
    multiple=True,
    help="A folder whose files may be played; may be given several times. Nothing outside is ever opened.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where it listens; others need --keys.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True)
@click.option("--keys", metavar="FILE", help="The hashed keys of those who may ask; see docs/serving.md.")
@click.option("--audit", metavar="FILE", help="Append who read which media, one JSON object a line.")
@privacy_options
@click.option("--index", metavar="DIR", help="The index of arcs.  [default: LAKE/_index]")
@click.option("--cache", metavar="DIR", help="What is kept sorted for reading.  [default: LAKE/_serve]")
@operation_options
def serve(
    lake: str,
    bootstrap: str | None,
    kafka: tuple[str, ...],
    prefix: str,
    media_roots: tuple[str, ...],
    host: str,
    port: int,
    keys: str | None,
    audit: str | None,
    emotions_for: str,
    responsible: str,
    index: str | None,
    cache: str | None,
    metrics_port: int | None,
    log_json: bool,
) -> None:
    """Serve a lake, and live calls, by REST and as a page for people.

    On this machine alone (the default) nobody needs a key. The page is at http://HOST:PORT/, what programs
    can ask at /openapi.json; docs/serving.md has examples of both.

    \b
    moodstream serve --lake lake --media-root music/
    moodstream serve --lake lake --bootstrap localhost:9092
    moodstream serve --lake lake --host 0.0.0.0 --keys keys.yaml --audit audit.jsonl
    """
    from pathlib import Path

    from moodstream.serving.config import ServeConfig

    check_privacy(emotions_for, responsible)
    settings: dict[str, str] = {}
    for word in kafka:
        name, is_set, value = word.partition("=")
        if not is_set or not name.isidentifier():
            raise click.UsageError(f"--kafka {word}: expected NAME=VALUE")
        settings[name] = value
    config = ServeConfig(
        lake=Path(lake.removeprefix("parquet:")),
        bootstrap=bootstrap,
        kafka=settings,
        prefix=prefix,
        media_roots=tuple(map(Path, media_roots)),
        host=host,
        port=port,
        keys=Path(keys) if keys else None,
        audit=Path(audit) if audit else None,
        emotions_for=emotions_for,
        responsible=responsible,
        index=Path(index) if index else None,
        cache=Path(cache) if cache else None,
    )
    with logs(log_json):
        _run(config, metrics_port)


def _run(config: "ServeConfig", metrics_port: int | None) -> None:
    """Serve until it is stopped.

    Raises:
        UsageError: something that the configuration names is not there, or the port is taken.
    """
    from moodstream.serving.running import run

    run(config, metrics_port)
