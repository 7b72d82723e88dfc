"""`moodstream export`: rows in the formats other tools read."""

import click

FORMATS = ("jams", "rttm", "sed", "textgrid", "webvtt", "audformat", "csv")


@click.command(no_args_is_help=True)
@click.argument("lake")
@click.argument("media", nargs=-1)
@click.option("--format", "form", type=click.Choice(FORMATS), required=True, help="See below.")
@click.option(
    "--out", metavar="DIR", required=True, type=click.Path(file_okay=False), help="Where the files go."
)
@click.option(
    "--modality", metavar="NAME", help="speech, music, symbolic or fused; default: the best there is."
)
def export(lake: str, media: tuple[str, ...], form: str, out: str, modality: str | None) -> None:
    """Write MEDIA of a lake (all, when none is named) as files for other tools.

    \b
    jams       curves and episodes, for mir_eval and mirdata
    rttm       episodes, for pyannote and other diarization tools
    sed        episodes as sound events (onset, offset, label)
    textgrid   curves and episodes as tiers, for Praat
    webvtt     episodes as subtitles, for video players
    audformat  a database with tables, for audb and audonnx
    csv        plain tables

    \b
    moodstream export lake song.mp3 --format jams --out jams/
    moodstream export lake --format webvtt --out subtitles/
    """
    from moodstream.sinks.export import export as write
    from moodstream.sinks.read import Lake

    files = write(Lake(lake.removeprefix("parquet:")), form, out, media, modality)
    click.echo(f"{len(files):,} files in {out}")
