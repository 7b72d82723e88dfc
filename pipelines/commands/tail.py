"""`moodstream tail`: what live streams say, as they say it."""

import click

from moodstream.pipelines.kafka_options import cluster_of, kafka_options, prefix_option
from moodstream.pipelines.live_file import config_option


@click.command(no_args_is_help=True)
@config_option
@kafka_options
@prefix_option
@click.option("--media", metavar="ID", help="Only this media.")
@click.option("--final", is_flag=True, help="Only final rows; alerts when they open, too.")
@click.option("--alerts", is_flag=True, help="Only alerts.")
def tail(
    bootstrap: str,
    kafka: tuple[str, ...],
    prefix: str,
    media: str | None,
    final: bool,
    alerts: bool,
) -> None:
    """Print alerts, curves, episodes, summaries and dead letters as they are committed, until Ctrl-C.

    An alert is told when it opens (◆) and again, with its whole span, when it is over (◇).

    \b
    moodstream tail --bootstrap localhost:9092
    moodstream tail --bootstrap localhost:9092 --media calls/parcel.flac
    """
    from moodstream.pipelines.live import stopping
    from moodstream.pipelines.tailing import follow
    from moodstream.sinks.cluster import Topics
    from moodstream.sinks.layout import TABLES

    with stopping() as stopped:
        where = cluster_of(bootstrap, kafka)
        tables = ("alert",) if alerts else TABLES
        for line in follow(where, Topics(prefix), stopped, media=media, final=final, tables=tables):
            click.echo(line)
