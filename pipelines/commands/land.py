"""`moodstream land`: topics of results into a lake or a database."""

import click

from moodstream.pipelines.kafka_options import cluster_of, kafka_options, prefix_option
from moodstream.pipelines.live_file import config_option
from moodstream.pipelines.operations import logs, operation_options


@click.command(no_args_is_help=True)
@config_option
@kafka_options
@click.option(
    "--to",
    metavar="STORE",
    required=True,
    help="The folder of a lake (Delta Lake), or postgresql://…; in a database the tables are in the schema "
    "`moodstream`.",
)
@prefix_option
@click.option(
    "--every-s",
    type=click.FloatRange(0.1),
    default=5.0,
    show_default=True,
    help="How often: into a lake, each time writes files.",
)
@click.option("--once", is_flag=True, help="Land what is committed now, and end.")
@operation_options
def land(
    bootstrap: str,
    kafka: tuple[str, ...],
    to: str,
    prefix: str,
    every_s: float,
    once: bool,
    metrics_port: int | None,
    log_json: bool,
) -> None:
    """Write the final rows of live streams into a store, each once.

    Where it stands is kept in the store itself, in the commits that hold the rows, so it can be stopped,
    killed and given again. A stream is to be seen in the store when it is over; until then `moodstream tail`
    shows it.

    \b
    moodstream land --bootstrap localhost:9092 --to lake
    moodstream land --bootstrap localhost:9092 --to postgresql://user@host/database
    """
    from moodstream.pipelines.landing import LandConfig, LandMetrics, run
    from moodstream.pipelines.monitor import serving
    from moodstream.sinks.cluster import Topics

    def tell(landed: dict[str, int]) -> None:
        click.echo(" · ".join(f"{count:,} {table}" for table, count in landed.items()))

    config = LandConfig(cluster_of(bootstrap, kafka), to, Topics(prefix), every_s, once)
    metrics = None if metrics_port is None else LandMetrics()
    with logs(log_json), serving(metrics, metrics_port):
        run(config, tell, metrics)
