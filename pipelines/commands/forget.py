"""`moodstream forget`: erase media from everywhere, and show that nothing is left."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from moodstream.pipelines.kafka_options import cluster_of, prefix_option

if TYPE_CHECKING:
    from moodstream.sinks.cluster import Cluster, Topics
    from moodstream.sinks.forget import Looked

EXIT_LEFT = 3
_AUDIO = (
    "Not looked at: the media files themselves, packets in Kafka, what was exported or copied, backups, and "
    "the memory of a `moodstream live` that has the stream open."
)


class Everywhere:
    """The places that media are erased from.

    Args:
        stores: a lake, parquet:FOLDER or postgresql://…; any number.
        index, cache: where they lie, if not beside the lake.
        topics: in Kafka, if there are any.
    """

    def __init__(
        self,
        stores: Iterable[str],
        index: str | None,
        cache: str | None,
        topics: "tuple[Cluster, Topics] | None",
        *,
        stopped: bool,
        compact: bool,
        full: bool,
    ) -> None:
        from pathlib import Path

        from moodstream.serving.config import CACHE_FOLDER, INDEX_FOLDER
        from moodstream.sinks.forget_postgres import PostgresForgetting

        self.databases, self.folders = [], []
        for store in stores:
            if store.startswith(("postgresql://", "postgres://")):
                self.databases.append(PostgresForgetting(store))
            else:
                lake = Path(store.removeprefix("parquet:"))
                found = (
                    Path(index) if index else lake / INDEX_FOLDER,
                    Path(cache) if cache else lake / CACHE_FOLDER,
                )
                self.folders.append((lake, *found))
        self.topics, self.stopped, self.compact, self.full = topics, stopped, compact, full

    def older_than(self, days: float) -> list[str]:
        """Media that were last written before, in every store that has them."""
        from datetime import UTC, datetime, timedelta

        from moodstream.sinks.forget import older_than

        moment = datetime.now(UTC) - timedelta(days=days)
        found = {name for lake, *_ in self.folders for name in older_than(lake, moment)}
        return sorted(found.union(*(database.older_than(days) for database in self.databases)))

    def forget(self, media_ids: set[str]) -> Iterator[str]:
        """Erase, and say what was."""
        from moodstream.serving.forgetting import forget_beside
        from moodstream.sinks.forget import forget
        from moodstream.sinks.forget_topics import forget_topics

        for lake, index, cache in self.folders:
            yield f"{lake}: {forget(lake, media_ids):,} rows erased"
            forget_beside(lake, index, cache, media_ids)
        for database in self.databases:
            yield f"database: {database.forget(media_ids, full=self.full):,} rows erased"
        if self.topics is not None:
            sent = forget_topics(
                *self.topics, media_ids, stopped=self.stopped, compact=self.compact, opened=_is_open
            )
            yield f"topics: {sent:,} tombstones written"

    def look(self, media_ids: set[str]) -> "Iterator[Looked]":
        """Read everything once more."""
        from moodstream.serving.forgetting import look_beside
        from moodstream.sinks.forget import look

        for lake, index, cache in self.folders:
            yield from look(lake, media_ids)
            yield from look_beside(lake, index, cache, media_ids)
        for database in self.databases:
            yield from database.look(media_ids)

    def look_topics(self, media_ids: set[str]) -> "Iterator[Looked]":
        from moodstream.sinks.forget_topics import look_topics

        if self.topics is not None:
            yield from look_topics(*self.topics, media_ids)


def _is_open(snapshot: bytes) -> bool:
    """Whether a snapshot is that of an open stream; one that cannot be read counts as such."""
    from moodstream.transforms.partition import Snapshot
    from moodstream.transforms.state import StateError

    try:
        return Snapshot.from_bytes(snapshot).is_open
    except StateError:
        return True


@click.command(no_args_is_help=True)
@click.argument("media", nargs=-1)
@click.option(
    "--lake",
    "stores",
    metavar="STORE",
    multiple=True,
    required=True,
    help="What to erase from: a lake, parquet:FOLDER or postgresql://…; may be given several times.",
)
@click.option("--bootstrap", metavar="HOST:PORT", help="Where Kafka is: its topics of results, too.")
@click.option(
    "--kafka", metavar="NAME=VALUE", multiple=True, help="A setting of the connection, as for live."
)
@prefix_option
@click.option(
    "--older-than", "days", metavar="DAYS", type=click.FloatRange(0), help="All media not written since."
)
@click.option("--index", metavar="DIR", help="The index of arcs.  [default: STORE/_index]")
@click.option("--cache", metavar="DIR", help="The cache of `serve`.  [default: STORE/_serve]")
@click.option("--stopped", is_flag=True, help="No `moodstream live` runs: open streams are forgotten, too.")
@click.option(
    "--compact-topics",
    is_flag=True,
    help="Have the topics of results compacted from now on, so that tombstones erase within minutes; a "
    "reader of alerts that is away for longer may miss some.",
)
@click.option("--full", is_flag=True, help="PostgreSQL: write the tables anew (VACUUM FULL); locks them.")
@click.option("--look", "only_look", is_flag=True, help="Erase nothing, only say where the media is.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(
    media: tuple[str, ...],
    stores: tuple[str, ...],
    bootstrap: str | None,
    kafka: tuple[str, ...],
    prefix: str,
    days: float | None,
    index: str | None,
    cache: str | None,
    stopped: bool,
    compact_topics: bool,
    full: bool,
    only_look: bool,
    yes: bool,
) -> None:
    """Erase media from stores, index, cache and topics, and show that nothing is left.

    MEDIA are media ids, all takes of them. Old versions of a lake go too, whatever its retention. Then
    everything is read once more, and what was read and found is printed. It may run beside writers and
    readers, be stopped, and be given again. Exit status 3: something is left, and why is said.

    \b
    moodstream forget calls/jane.wav --lake lake --bootstrap localhost:9092
    moodstream forget --older-than 90 --lake lake --yes
    moodstream forget calls/jane.wav --lake lake --look
    """
    from moodstream.sinks.cluster import Topics

    if bool(media) == (days is not None):
        raise click.UsageError("say which MEDIA, or --older-than DAYS")
    topics = (cluster_of(bootstrap, kafka), Topics(prefix)) if bootstrap else None
    everywhere = Everywhere(stores, index, cache, topics, stopped=stopped, compact=compact_topics, full=full)
    names = set(media) if days is None else set(everywhere.older_than(days))
    if not names:
        click.echo(f"nothing was last written more than {days:g} days ago")
        return
    if not only_look:
        if not yes:
            listed = "\n".join(f"  {name!r}" for name in sorted(names)[:20])
            more = f"\n  and {len(names) - 20:,} more" if len(names) > 20 else ""
            click.confirm(f"{listed}{more}\nErase {len(names):,} media for good?", abort=True)
        for line in everywhere.forget(names):
            click.echo(line)
    left = _tell(everywhere.look(names), only_look)
    if left and not only_look:  # writers at work: once more what they wrote meanwhile
        for line in everywhere.forget(names):
            click.echo(line)
        left = _tell(everywhere.look(names))
    waiting = _tell(everywhere.look_topics(names), only_look)
    if left or waiting:
        told = f"{left:,} {'' if only_look else 'left '}in stores, {waiting:,} records in topics"
        click.echo(told if only_look else f"LEFT: {told}; why is said above.")
    elif only_look:
        click.echo("It is nowhere.")
    else:
        click.echo("Nothing is left.")
    click.echo(_AUDIO)
    if left or waiting:
        raise click.exceptions.Exit(EXIT_LEFT)


def _tell(looked: "Iterable[Looked]", only_look: bool = False) -> int:
    """Print what was looked at; how much is left."""
    left = 0
    for one in looked:
        found = f"{one.left:,} LEFT: {one.why}" if one.left else one.why or "nothing left"
        if only_look and (one.left or not one.why):
            found = f"{one.left:,} here" if one.left else "nothing"
        click.echo(f"  {one.place:<24} {one.searched:<48} {found}")
        left += one.left
    return left
