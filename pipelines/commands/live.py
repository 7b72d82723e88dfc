"""`moodstream live`: packets from Kafka in, rows to Kafka out."""

from pathlib import Path

import click

from moodstream.pipelines.kafka_options import (
    cluster_of,
    group_option,
    kafka_options,
    prefix_option,
    topic_option,
)
from moodstream.pipelines.listening import listening_options
from moodstream.pipelines.live_file import config_option, current
from moodstream.pipelines.operations import logs, operation_options
from moodstream.pipelines.privacy import check_privacy, privacy_options, said


def _numbers(text: str) -> tuple[int, ...]:
    """`0-3,6` as numbers."""
    numbers: list[int] = []
    for span in filter(None, text.split(",")):
        first, _, last = span.partition("-")
        if not first.isdigit() or not (last or first).isdigit() or int(last or first) < int(first):
            raise click.UsageError(f"--partitions {text}: expected numbers and spans, e.g. 0-3,6")
        numbers += range(int(first), int(last or first) + 1)
    return tuple(sorted(set(numbers)))


@click.command(no_args_is_help=True)
@config_option
@kafka_options
@topic_option
@group_option(
    "In whose name positions are kept. A second process with the same group and partitions takes over."
)
@prefix_option
@click.option(
    "--partitions",
    metavar="0-3,6",
    default="",
    help="Only these partitions of the topic, so that several processes share it. Each must have its own.",
)
@click.option(
    "--share",
    is_flag=True,
    help="Share the topic with the other processes of the group that have --share: Kafka says who reads "
    "which partitions, and gives those of a process that ends to the others.",
)
@privacy_options
@listening_options
@click.option(
    "--rules",
    "rule_file",
    metavar="FILE",
    help="What is worth an alert: a YAML file with `rules`, see docs/calls.md.",
)
@click.option(
    "--window-ms",
    type=click.IntRange(0),
    default=2_000,
    show_default=True,
    help="How long packets out of order wait for those before them.",
)
@click.option(
    "--idle-s",
    type=click.IntRange(1),
    default=60,
    show_default=True,
    help="A stream without packets for so long is over.",
)
@click.option(
    "--snapshot-s",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="How often each stream is saved: after a crash, so much is heard again.",
)
@click.option(
    "--releases",
    metavar="FOLDER",
    help="Releases of models, each a folder, and a file `current` with the name of the one to use; when it "
    "changes, streams that run go over (docs/live.md). [default: the installed models]",
)
@click.option(
    "--payloads-from",
    metavar="FOLDER",
    multiple=True,
    help="Where the bytes of packets may lie that only name them (ce_dataref): a folder or fsspec URI. May "
    "be given several times; nothing is fetched from elsewhere.",
)
@click.option(
    "--max-payload-mb",
    type=click.IntRange(1, 2_048),
    default=64,
    show_default=True,
    help="How much is fetched at most for one packet.",
)
@click.option(
    "--state-dir",
    metavar="FOLDER",
    default=None,
    help="Where it says which packet is in hand, so that one that kills the process is refused on the third "
    "start. It must outlive the process. [default: ~/.cache/moodstream/live]",
)
@click.option(
    "--beam",
    "beam_options",
    metavar="OPTION",
    multiple=True,
    help="An option for Beam, e.g. --beam=--runner=PortableRunner for Flink (docs/live.md); may be given "
    "several times.",
)
@operation_options
def live(
    bootstrap: str,
    kafka: tuple[str, ...],
    topic: str,
    group: str,
    prefix: str,
    partitions: str,
    share: bool,
    emotions_for: str,
    responsible: str,
    speech_model: str,
    one_voice: bool,
    rule_file: str | None,
    window_ms: int,
    idle_s: int,
    snapshot_s: int,
    releases: str | None,
    payloads_from: tuple[str, ...],
    max_payload_mb: int,
    state_dir: str | None,
    beam_options: tuple[str, ...],
    metrics_port: int | None,
    log_json: bool,
) -> None:
    """Analyse streams while they run.

    Reads packets from TOPIC and writes curves, episodes, summaries and alerts into one topic a table, exactly
    once: rows, state and position become visible together or not at all, whatever is killed and when. Runs
    until it is stopped (SIGTERM, Ctrl-C), and goes on where it was.

    \b
    moodstream verify --bootstrap localhost:9092 --in packets --create
    moodstream live --bootstrap localhost:9092 --in packets
    moodstream live --config live.yaml
    """
    import logging

    from moodstream.pipelines.live import LiveConfig, run
    from moodstream.pipelines.metrics import Metrics
    from moodstream.pipelines.monitor import serving
    from moodstream.pipelines.rule_file import read_rules
    from moodstream.sinks.cluster import Topics
    from moodstream.transforms.claims import Claims
    from moodstream.transforms.hand import default_folder
    from moodstream.transforms.session import Settings
    from moodstream.transforms.stream import LiveSettings

    check_privacy(emotions_for, responsible)
    rules = read_rules(rule_file, emotions_for) if rule_file is not None else current().rules
    config = LiveConfig(
        cluster=cluster_of(bootstrap, kafka),
        topic=topic,
        group=group,
        topics=Topics(prefix),
        partitions=_numbers(partitions),
        share=share,
        settings=Settings(
            emotions_for=emotions_for,
            responsible=responsible,
            rules=rules,
            speech_model=speech_model,
            one_voice=one_voice,
        ),
        timing=LiveSettings(
            window_ms,
            idle_s * 1000,
            snapshot_s * 1000,
            roles=current().roles,
            claims=Claims(payloads_from, max_payload_mb << 20),
            in_hand=str(Path(state_dir or default_folder(), prefix + group)),
        ),
        beam_options=beam_options,
        releases=releases or "",
        bundle_s=1.0 if beam_options else 60.0,
    )
    metrics = None if metrics_port is None else Metrics()
    with logs(log_json), serving(metrics, metrics_port):
        logging.getLogger(__name__).info("%s; %d rules", said(emotions_for, responsible), len(rules))
        run(config, metrics=metrics)
