"""`moodstream index`: make a lake searchable by arc."""

import click

from moodstream.pipelines.privacy import check_privacy, privacy_options


@click.command(no_args_is_help=True)
@click.argument("lake")
@click.option("--index", "folder", metavar="DIR", help="Where it is kept.  [default: LAKE/_index]")
@click.option("--rebuild", is_flag=True, help="Begin anew, whatever there is.")
@privacy_options
def index(lake: str, folder: str | None, rebuild: bool, emotions_for: str, responsible: str) -> None:
    """Build the index that `query --like`, `query --arc` and `serve` search, or bring it up to date.

    Only what is new or changed is read, and what vanished from the lake is forgotten. Stopped or killed, it
    goes on where it was when the command is given again; those who search see the old index until the new one
    is whole. Agents' channels are not in it, unless `--emotions-for all` says so.

    \b
    moodstream index lake
    moodstream index lake --index /fast/disk/index
    """
    from pathlib import Path

    from rich.console import Console

    from moodstream.pipelines.display import stages
    from moodstream.serving.search.build import update

    check_privacy(emotions_for, responsible)
    with stages(Console(stderr=True)) as tell:
        built = update(
            lake.removeprefix("parquet:"),
            Path(folder) if folder else None,
            emotions_for=emotions_for,
            responsible=responsible,
            rebuild=rebuild,
            on_progress=lambda done, todo: tell(f"{done:,}/{todo:,} media", done / max(todo, 1)),
        )
    gone = f", {built.gone:,} dropped" if built.gone else ""
    click.echo(
        f"{built.manifest.tracks:,} curves in the index · {built.added:,} added{gone} · {built.seconds:.1f} s"
    )
    for model, versions in built.manifest.models.items():
        if len(versions) > 1:
            counts = ", ".join(f"{count:,} of {version}" for version, count in sorted(versions.items()))
            click.echo(
                f"{model}: curves of several versions, which do not compare well: {counts}. Analyse again.",
                err=True,
            )
