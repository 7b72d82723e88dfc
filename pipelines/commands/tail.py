"""`moodstream tail`: what live streams say, as they say it."""

import click

from moodstream.pipelines.kafka_options import cluster_of, kafka_options, prefix_option


@click.command(no_args_is_help=True)
@kafka_options
@prefix_option
@click.option("--media", metavar="ID", help="Only this media.")
@click.option("--final", is_flag=True, help="Only final rows.")
def tail(bootstrap: str, kafka: tuple[str, ...], prefix: str, media: str | None, final: bool) -> None:
    """Print curves, episodes, summaries, alerts and dead letters as they are committed, until Ctrl-C.

    \b
    moodstream tail --bootstrap localhost:9092
    moodstream tail --bootstrap localhost:9092 --media calls/parcel.flac
    """
    from moodstream.pipelines.live import stopping
    from moodstream.pipelines.tailing import follow
    from moodstream.sinks.kafka import Topics

    with stopping() as stopped:
        for line in follow(cluster_of(bootstrap, kafka), Topics(prefix), stopped, media=media, final=final):
            click.echo(line)
