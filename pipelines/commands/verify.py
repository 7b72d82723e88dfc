"""`moodstream verify`: is everything there that a live run needs?"""

import click

from moodstream.pipelines.kafka_options import (
    cluster_of,
    group_option,
    kafka_options,
    prefix_option,
    topic_option,
)
from moodstream.pipelines.live_file import config_option, current

EXIT_MISSING = 3


@click.command(no_args_is_help=True)
@config_option
@kafka_options
@topic_option
@group_option("The group of the live run.")
@prefix_option
@click.option(
    "--new-partitions",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="How many partitions a topic gets that does not exist yet.",
)
@click.option("--create", is_flag=True, help="Create the topics that are missing.")
@click.option("--offline", is_flag=True, help="Look at the configuration and the models only.")
def verify(
    bootstrap: str,
    kafka: tuple[str, ...],
    topic: str,
    group: str,
    prefix: str,
    new_partitions: int,
    create: bool,
    offline: bool,
) -> int:
    """Say what a live run needs and what of it is missing; exit status 3 if anything is.

    Looks at the configuration (its rules one by one), the models, the topics and their settings, the right to
    read and write them (with a transaction that is taken back), and the store of `land`.

    \b
    moodstream verify --bootstrap localhost:9092 --in packets --create
    moodstream verify --config live.yaml
    """
    from moodstream.pipelines import verifying
    from moodstream.sinks.cluster import Topics

    file = current()
    found = [*verifying.rules(file.rules)]
    found += verifying.models(file.options.get("releases", ""), file.options.get("speech_model", "speech"))
    if not offline:
        where = cluster_of(bootstrap, kafka)
        found += verifying.kafka(where, topic, group, Topics(prefix), new_partitions, create=create)
        to = file.sections.get("land", {}).get("to")
        found += verifying.store(to) if to else []
    for one in found:
        click.echo(f"{one.kind:<7} {one.name:<32} {one.state}")
    if any(one.is_missing for one in found):
        click.echo("Give --create to make missing topics, or create them with these settings.")
        return EXIT_MISSING
    return 0
