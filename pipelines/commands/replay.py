"""`moodstream replay`: files sent as packets."""

import click

from moodstream.pipelines.kafka_options import cluster_of, kafka_options


@click.command(no_args_is_help=True)
@click.argument("paths", metavar="PATH...", nargs=-1)
@kafka_options
@click.option("--topic", required=True, help="The topic of packets.")
@click.option(
    "--speed", default="1", show_default=True, help="Times real time; `max` for as fast as it goes."
)
@click.option("--packet-ms", type=click.IntRange(10, 60_000), default=500, show_default=True)
@click.option(
    "--codec",
    type=click.Choice(["l16", "pcmu", "mp3", "aac", "ogg", "opus", "mp4", "ts", "webm", "midi"]),
    default="l16",
    show_default=True,
    help="How sound is coded; files that are coded so go out as they are. midi: notes as they are played.",
)
@click.option(
    "--roles",
    metavar="NAME,NAME",
    default="",
    help="Who speaks on which channel of a call, e.g. agent,customer.",
)
@click.option(
    "--id",
    "id_from",
    type=click.Choice(["path", "stem", "hash"]),
    default="path",
    show_default=True,
    help="What media are called; as for `analyze`.",
)
@click.option("--apart", is_flag=True, help="Each side of a call as a part of its own; needs --roles.")
@click.option("--manifest", metavar="FILE", help="Names the media and their parts; as for `analyze`.")
@click.option("--shuffle-ms", type=click.IntRange(0), default=0, help="Packets come up to so much late.")
@click.option("--drop", type=click.FloatRange(0, 1), default=0.0, help="Share of packets that never come.")
@click.option(
    "--duplicate", type=click.FloatRange(0, 1), default=0.0, help="Share of packets that come twice."
)
@click.option("--seed", type=int, default=0, help="Of what goes wrong.")
def replay(
    paths: tuple[str, ...],
    bootstrap: str,
    kafka: tuple[str, ...],
    topic: str,
    speed: str,
    packet_ms: int,
    codec: str,
    roles: str,
    id_from: str,
    apart: bool,
    manifest: str | None,
    shuffle_ms: int,
    drop: float,
    duplicate: float,
    seed: int,
) -> None:
    """Send files as if they happened now.

    Sound goes in the codec that is asked for, MIDI as it is (or note by note, with --codec midi); media have
    the ids that `analyze` gives the same files.

    \b
    moodstream replay calls/ --roles agent,customer --bootstrap localhost:9092 --topic packets
    moodstream replay songs/ --codec mp3 --speed max --bootstrap localhost:9092 --topic packets
    """
    from moodstream.pipelines.replay import Disorder
    from moodstream.pipelines.replay import replay as send
    from moodstream.transforms.read import find_media

    try:
        times = float("inf") if speed == "max" else float(speed)
    except ValueError:
        times = 0.0
    if not times > 0:
        raise click.UsageError(f"--speed {speed}: expected a number above 0, or max")
    if not paths and manifest is None:
        raise click.UsageError("name something to send: a file, a folder, a pattern or --manifest FILE")
    names = tuple(role.strip() for role in roles.split(",") if role.strip())
    channels = "split" if names else "mix"
    media = find_media(paths, id=id_from, manifest=manifest, channels=channels, roles=names)
    sent = send(
        media,
        cluster_of(bootstrap, kafka),
        topic,
        speed=times,
        packet_ms=packet_ms,
        codec=codec,
        apart=apart,
        disorder=Disorder(shuffle_ms, drop, duplicate, seed),
    )
    click.echo(f"{sent.media:,} media, {sent.packets:,} packets")
    for why in sent.failed:
        click.echo(f"  not to its end: {why}", err=True)
