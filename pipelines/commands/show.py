"""`moodstream show`: look at media of a lake."""

import click

LISTED = 50  # media, when none is named


@click.command(no_args_is_help=True)
@click.argument("lake")
@click.argument("media", nargs=-1)
@click.option("--channel", metavar="NAME", help="Only this channel, or the one with this role.")
@click.option(
    "--modality", metavar="NAME", help="speech, music, symbolic or fused, instead of the best there is."
)
@click.option(
    "--html",
    metavar="FILE",
    help="Write a page that plays the media, instead of printing; it holds all it needs and loads nothing.",
)
@click.option("--title", default="moodstream", show_default=True, help="Heading of the page.")
def show(
    lake: str, media: tuple[str, ...], channel: str | None, modality: str | None, html: str | None, title: str
) -> None:
    """Show curves, episodes and summaries of MEDIA in the terminal, or on a page.

    Without MEDIA, list what the lake holds.

    \b
    moodstream show lake
    moodstream show lake song.mp3
    moodstream show lake calls/17.wav --channel customer
    moodstream show lake song.mp3 other.mid --html page.html
    """
    from pathlib import Path

    from rich.console import Console

    from moodstream.sinks.read import Lake

    store = Lake(lake.removeprefix("parquet:"))
    console = Console()
    if html:
        from moodstream.pipelines.report import write_report

        names = media or tuple(store.media_ids()[:LISTED])
        write_report(store, names, html, title, folder=Path(lake).resolve().parent)
        console.print(
            f"{html}: {len(names)} media, {Path(html).stat().st_size / 1e6:.1f} MB", highlight=False
        )
        return

    from moodstream.pipelines import view
    from moodstream.pipelines.show import show as print_view

    if not media:
        listing(store.media_ids(), lake)
    for i, name in enumerate(media):
        console.print("\n" if i else "", end="")
        print_view(view.load(store, name), console, channel, modality)


def listing(names: list[str], lake: str) -> None:
    """The first media of a lake, and how to look at one."""
    from moodstream.pipelines.commands.analyze import printable

    for name in names[:LISTED]:
        click.echo(printable(name))
    if len(names) > LISTED:
        click.echo(f"and {len(names) - LISTED:,} more")
    if names:
        click.echo(f"\nmoodstream show {lake} MEDIA shows one of these {len(names):,} media", err=True)
    else:
        click.echo("the lake holds no media yet: moodstream analyze PATH --out LAKE", err=True)
