"""`moodstream alerts`: committed alerts to a webhook, or as lines."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import click

from moodstream.pipelines.kafka_options import cluster_of, group_option, kafka_options, prefix_option
from moodstream.pipelines.live_file import config_option
from moodstream.pipelines.operations import logs


@click.command(no_args_is_help=True)
@config_option
@kafka_options
@prefix_option
@click.option("--webhook", metavar="URL", help="Where each alert is posted; else it is printed, one a line.")
@click.option(
    "--secret",
    metavar="TEXT",
    default="",
    help="Signs each body (HMAC-SHA256); @FILE reads it from a file, which is better.",
)
@click.option(
    "--headers",
    metavar="NAME=VALUE",
    multiple=True,
    help="A header to send, e.g. Authorization=@FILE; may be given several times.",
)
@click.option("--ca-file", metavar="FILE", help="Certificates to trust instead of the system's.")
@click.option(
    "--timeout-s",
    type=click.FloatRange(0.1, 300),
    default=10.0,
    show_default=True,
    help="For the whole answer.",
)
@click.option(
    "--tries",
    type=click.IntRange(0),
    default=8,
    show_default=True,
    help="For one alert, with growing pauses (two minutes in all); 0: for ever.",
)
@group_option(
    "In whose name positions are kept. Processes of one group share the alerts.",
    "--alerts-group",
    "moodstream.alerts",
)
@click.option(
    "--from",
    "begin",
    type=click.Choice(["start", "now"]),
    default="start",
    show_default=True,
    help="Where a group that is new begins.",
)
@click.option("--once", is_flag=True, help="Hand on what is committed now, and end.")
@click.option("--log-json", is_flag=True, help="Log as JSON, one object a line.")
def alerts(
    bootstrap: str,
    kafka: tuple[str, ...],
    prefix: str,
    webhook: str | None,
    secret: str,
    headers: tuple[str, ...],
    ca_file: str | None,
    timeout_s: float,
    tries: int,
    alerts_group: str,
    begin: str,
    once: bool,
    log_json: bool,
) -> None:
    """Hand alerts on as they are committed, each at least once, until Ctrl-C.

    A position is committed when its alert was taken. Retries of an alert carry the same Idempotency-Key.
    What a receiver refuses becomes a dead letter; a receiver that cannot be reached ends the command, and
    the next start goes on there.

    \b
    moodstream alerts --bootstrap localhost:9092
    moodstream alerts --bootstrap localhost:9092 --webhook https://desk.example/hook --secret @secret.txt
    """
    from moodstream.pipelines.alerting import AlertConfig, Alerting
    from moodstream.pipelines.live import stopping
    from moodstream.sinks.cluster import Topics
    from moodstream.sinks.webhook import Webhook

    deliver: Callable[[Mapping[str, Any], Callable[[float], bool]], bool] = _print
    if webhook is not None:
        deliver = Webhook(
            webhook,
            secret=_secret(secret),
            headers=_headers(headers),
            timeout_s=timeout_s,
            tries=tries,
            ca_file=ca_file,
        ).deliver
    where = AlertConfig(cluster_of(bootstrap, kafka), Topics(prefix), alerts_group, begin == "start", once)
    with logs(log_json), stopping() as stopped:
        told = Alerting(where, deliver, stopped).run()
    click.echo(f"{told.delivered:,} alerts handed on, {told.refused:,} refused", err=True)


def _print(row: Mapping[str, Any], pause: Callable[[float], bool]) -> bool:
    click.echo(json.dumps(row, separators=(",", ":")))
    return True


def _headers(words: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found = []
    for word in words:
        name, is_set, value = word.partition("=")
        if not is_set or not name:
            raise click.UsageError(f"--headers {word}: expected NAME=VALUE")
        found.append((name, _secret(value)))
    return tuple(found)


def _secret(text: str) -> str:
    """A text, or what the file holds that it names."""
    from pathlib import Path

    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text().strip()
    except OSError as error:
        raise click.UsageError(f"cannot read {text[1:]}: {error.strerror}") from error
