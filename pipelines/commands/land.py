"""`moodstream land`: topics of results into a lake."""

import click

from moodstream.pipelines.kafka_options import cluster_of, kafka_options, prefix_option


@click.command(no_args_is_help=True)
@kafka_options
@click.option("--to", "lake", metavar="LAKE", required=True, help="The folder of the lake (Delta Lake).")
@prefix_option
@click.option(
    "--every-s",
    type=click.FloatRange(0.1),
    default=5.0,
    show_default=True,
    help="How often: each time writes files.",
)
@click.option("--once", is_flag=True, help="Land what is committed now, and end.")
def land(bootstrap: str, kafka: tuple[str, ...], lake: str, prefix: str, every_s: float, once: bool) -> None:
    """Write the final rows of live streams into a lake, each once.

    Where it stands is kept in the lake itself, so it can be stopped, killed and given again. A stream is to
    be seen in the lake when it is over; until then `moodstream tail` shows it.

    \b
    moodstream land --bootstrap localhost:9092 --to lake
    """
    import time

    from moodstream.pipelines.live import stopping
    from moodstream.sinks.kafka import Topics
    from moodstream.sinks.land import Lander

    lander = Lander(cluster_of(bootstrap, kafka), lake, Topics(prefix))
    with stopping() as stopped:
        while True:
            began = time.monotonic()
            landed = lander.round()
            if landed:
                click.echo(" · ".join(f"{count:,} {table}" for table, count in landed.items()))
            if once or stopped():
                break
            while not stopped() and time.monotonic() < began + every_s:
                time.sleep(0.1)
    lander.close()
