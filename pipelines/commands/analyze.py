"""`moodstream analyze`: media in, a lake out."""

from typing import TYPE_CHECKING, Any, Literal

import click

from moodstream.pipelines.listening import listening_options
from moodstream.pipelines.privacy import check_privacy, privacy_options, said

if TYPE_CHECKING:
    from moodstream.pipelines.runlog import RunReport

EXIT_DEAD_LETTERS = 3
LISTED = 20  # dead letters
STOPPED = "moodstream: stopped. The same command goes on where it stopped."

ADVICE = {  # what people can do about a dead letter, by its word
    "missing": "the file is gone or the link is broken: put it back and run again",
    "unreadable": "check the rights, the disk or the connection, and run again",
    "empty": "nothing is in it: copy the file again",
    "truncated": "copy the file again; what decodes is in the lake",
    "corrupt": "copy the file again; what decodes is in the lake",
    "not_media": "not audio, video or MIDI, whatever its name says: leave it out",
    "not_midi": "not MIDI, whatever its name says: leave it out",
    "no_audio": "it has no sound; only sound is analysed",
    "no_notes": "there is no note in it: leave it out",
    "no_codec": "convert it, e.g. to flac",
    "non_finite": "the samples are not numbers: export the file again",
    "too_long": "raise --max-hours, or cut the file",
    "roles": "one role for each channel, and --channels split; a call with one side: its role alone",
    "too_wide": "convert it to at most 384 kHz and a few channels",
}


@click.command(no_args_is_help=True)
@click.argument("paths", metavar="PATH...", nargs=-1)
@click.option(
    "--out",
    metavar="LAKE",
    required=True,
    help="Where rows go: a folder (Delta Lake), parquet:DIR or postgresql://user@host/database.",
)
@click.option(
    "--id",
    "id_from",
    type=click.Choice(["path", "stem", "hash"]),
    default="path",
    show_default=True,
    help="What media are called: their path below PATH, their name, or a hash of what they contain.",
)
@click.option(
    "--manifest",
    metavar="FILE",
    help="CSV or JSONL with columns media_id, path and, if needed, offset_ms: "
    "names the media, and says which files are one.",
)
@click.option(
    "--channels",
    type=click.Choice(["mix", "split"]),
    default="mix",
    show_default=True,
    help="Mix the channels down, or analyse each apart (stereo calls).",
)
@click.option(
    "--roles",
    metavar="NAME,NAME",
    default="",
    help="Who speaks on which channel, with --channels split; e.g. agent,customer.",
)
@privacy_options
@click.option(
    "--rules",
    "rule_file",
    metavar="FILE",
    help="What is worth an alert: a YAML file with `rules`, see docs/calls.md.",
)
@click.option("--no-pair", is_flag=True, help="song.mp3 and song.mid in one folder are two media, not one.")
@click.option(
    "--features",
    is_flag=True,
    help="Musical context in the summary: key, tempo, loudness range (needs moodstream[features]).",
)
@listening_options
@click.option(
    "--profile",
    metavar="FILE",
    help="A listener's own ratings (YAML or JSON): the curves of the notes that they are of become his.",
)
@click.option("--force", is_flag=True, help="Analyse again what is done.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option(
    "--max-hours",
    type=click.FloatRange(0, min_open=True),
    default=24.0,
    show_default=True,
    help="Cut longer media there, and say so.",
)
@click.option(
    "--beam",
    "beam_options",
    metavar="OPTION",
    multiple=True,
    help="An option for Beam, e.g. --beam=--runner=PortableRunner; may be given several times.",
)
@click.option("--strict", is_flag=True, help=f"Exit status {EXIT_DEAD_LETTERS} when there are dead letters.")
def analyze(
    paths: tuple[str, ...],
    out: str,
    id_from: Literal["path", "stem", "hash"],
    roles: str,
    no_pair: bool,
    strict: bool,
    emotions_for: str,
    responsible: str,
    rule_file: str | None,
    features: bool,
    max_hours: float,
    speech_model: str,
    one_voice: bool,
    profile: str | None,
    **more: Any,
) -> int:
    """Analyse media and write curves, episodes and summaries.

    PATH is a file, a folder (with all below it), a pattern, or an address such as s3://bucket/folder. Only
    what is missing is done: media that are in the lake with the same content, models and settings are
    skipped, so the command can be stopped and given again. What cannot be analysed ends in the table
    `dead_letter`.

    \b
    moodstream analyze music/ --out lake
    moodstream analyze "calls/*.wav" --out lake --channels split --roles agent,customer
    moodstream analyze s3://bucket/catalogue --out parquet:rows --workers 8
    moodstream analyze calls/ --out lake --model small
    moodstream analyze calls/ --out lake --channels split --roles agent,customer --one-voice
    moodstream analyze calls/ --out lake --channels split --roles agent,customer --rules rules.yaml
    moodstream analyze songs/ --out lake-of-ada --profile ada.yaml
    moodstream analyze --manifest songs.csv --out postgresql://me@localhost/music
    """
    from rich.console import Console

    from moodstream.models import licences
    from moodstream.pipelines.config import Config
    from moodstream.pipelines.display import display
    from moodstream.pipelines.interrupt import own_screen, scratch_folder, stoppable
    from moodstream.pipelines.rule_file import read_rules
    from moodstream.transforms.engine import Engine
    from moodstream.transforms.personal import read_listener
    from moodstream.transforms.session import Settings

    if not paths and not more["manifest"]:
        raise click.UsageError("name something to analyse: a file, a folder, a pattern or --manifest FILE")
    check_privacy(emotions_for, responsible)
    config = Config(
        paths=paths,
        out=out,
        id=id_from,
        roles=tuple(role.strip() for role in roles.split(",") if role.strip()),
        pair=not no_pair,
        settings=Settings(
            emotions_for=emotions_for,
            responsible=responsible,
            rules=read_rules(rule_file, emotions_for) if rule_file is not None else (),
            features=features,
            max_hours=max_hours,
            speech_model=speech_model,
            one_voice=one_voice,
            listener=read_listener(profile) if profile else None,
        ),
        **more,
    )
    if roles or emotions_for == "all":
        click.echo(said(emotions_for, responsible), err=True)
    cards = Engine(speech=speech_model).cards.values()
    click.echo(licences.notice({card.name: card.licence for card in cards}), err=True)
    apart = config.workers > 1
    with (
        scratch_folder() as scratch,
        stoppable(scratch, STOPPED, at_once=apart),
        own_screen(scratch / "workers.log" if apart else None) as screen,
        display(Console(file=screen)) as on_progress,
    ):
        from moodstream.pipelines import catalogue  # seconds: the display is there before

        report = catalogue.run(config, on_progress=on_progress)
    for line in closing(report, out):
        click.echo(line)
    return EXIT_DEAD_LETTERS if strict and report.dead_letters else 0


def closing(report: "RunReport", out: str) -> list[str]:
    """What is said at the end of a run."""
    from moodstream.pipelines.progress import span

    if not report.media and not report.dead_letters:
        return [f"nothing to do: all {report.skipped:,} media are in {out} (--force analyses them again)"]
    parts = [f"{report.media:,} media", span(report.seconds), f"{sum(report.rows.values()):,} rows"]
    parts.append(f"{len(report.dead_letters):,} dead letters")
    if report.times_real_a_core:
        parts.append(f"{report.times_real_a_core:,.0f}x real time a core")
    if report.skipped:
        parts.append(f"{report.skipped:,} done before")
    lines = [" · ".join(parts)]
    for letter in report.dead_letters[:LISTED]:
        lines.append(f"  {letter['stage']}/{letter['error']}: {printable(letter['source'])}")
        lines.append(f"      {printable(letter['message'])}")
        if letter["error"] in ADVICE:
            lines.append(f"      -> {ADVICE[letter['error']]}")
    if len(report.dead_letters) > LISTED:
        lines.append(f"  and {len(report.dead_letters) - LISTED:,} more: the table dead_letter has them all")
    return lines


def printable(text: str) -> str:
    """A name or message as one line: control characters and what no terminal can print, escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)
