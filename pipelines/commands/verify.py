"""`moodstream verify`: is everything there that a live run needs?"""

import click

from moodstream.pipelines.kafka_options import cluster_of, kafka_options, prefix_option

EXIT_MISSING = 3


@click.command(no_args_is_help=True)
@kafka_options
@click.option("--in", "topic", metavar="TOPIC", required=True, help="The topic of packets.")
@click.option("--group", default="moodstream", show_default=True, help="The group of the live run.")
@prefix_option
@click.option(
    "--new-partitions",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="How many partitions a topic gets that does not exist yet.",
)
@click.option("--create", is_flag=True, help="Create the topics that are missing.")
def verify(
    bootstrap: str,
    kafka: tuple[str, ...],
    topic: str,
    group: str,
    prefix: str,
    new_partitions: int,
    create: bool,
) -> int:
    """Say which topics and models a live run needs and which are missing; exit status 3 if any is.

    \b
    moodstream verify --bootstrap localhost:9092 --in packets
    moodstream verify --bootstrap localhost:9092 --in packets --create
    """
    from moodstream.sinks.kafka import Topics, create_topics, import_kafka, missing_topics, plan
    from moodstream.transforms.engine import Engine
    from moodstream.transforms.errors import StoreError

    cluster = cluster_of(bootstrap, kafka)
    for name, card in Engine().cards.items():
        click.echo(f"model   {name:<10} {card.version}")
    try:
        wanted = plan(cluster, topic, group, Topics(prefix), new_partitions)
        missing = missing_topics(cluster, wanted)
        if create and missing:
            create_topics(cluster, missing)
    except import_kafka().errors.KafkaError as error:
        raise StoreError(f"Kafka at {bootstrap}: {error}") from error
    for one in wanted:
        state = ("created" if create else "MISSING") if one in missing else "ok"
        settings = " ".join(f"{key}={value}" for key, value in one.settings.items())
        click.echo(f"topic   {one.name:<32} {one.partitions} partitions  {state}  {settings}")
    if missing and not create:
        click.echo("Give --create to make what is missing, or create it with these settings.")
        return EXIT_MISSING
    return 0
