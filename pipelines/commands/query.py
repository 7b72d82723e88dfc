"""`moodstream query`: SQL over a lake, and the questions people ask most."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import pyarrow as pa

    from moodstream.serving.search.questions import Level

FORMATS = ("table", "csv", "json", "parquet")


class _Point(click.ParamType[tuple[float, float]]):
    """`V,A`: a point of the valence-arousal plane."""

    name = "V,A"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        try:
            valence, arousal = map(float, value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not two numbers such as 0.5,-0.2", param, ctx)
        return valence, arousal


class _Arc(click.ParamType[tuple[tuple[float, float, float], ...]]):
    """`SHARE:V,A SHARE:V,A …`: points of an arc."""

    name = "POINTS"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[tuple[float, float, float], ...]:
        points = []
        for point in value.split():
            share, _, plane = point.partition(":")
            try:
                points.append((float(share), *_Point().convert(plane, param, ctx)))
            except ValueError:
                self.fail(f"{point!r} is not SHARE:V,A such as 0.5:-0.2,0.8", param, ctx)
        return tuple(points)


@click.command(no_args_is_help=True)
@click.argument("lake")
@click.argument("sql", required=False)
@click.option(
    "--rising", is_flag=True, help="Media whose arousal rises in the last third, the steepest first."
)
@click.option("--like", metavar="MEDIA", help="Media whose arc is like this one's; needs the index.")
@click.option(
    "--arc",
    type=_Arc(),
    help="Media whose arc is like these 2 to 20 points, SHARE:V,A each; needs the index.",
)
@click.option(
    "--level",
    type=click.Choice(["kept", "removed"]),
    default="kept",
    show_default=True,
    help="--like, --arc: whether it counts where an arc lies, or only how it moves.",
)
@click.option("--near", type=_Point(), help="Media whose mean lies near this valence and arousal.")
@click.option("--limit", type=click.IntRange(1), help="At most so many rows (20 for the named queries).")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), help="Default: by the suffix of --out, else table."
)
@click.option(
    "--out", metavar="FILE", type=click.Path(dir_okay=False), help="Write there instead of printing."
)
def query(
    lake: str,
    sql: str | None,
    rising: bool,
    like: str | None,
    arc: tuple[tuple[float, float, float], ...] | None,
    level: "Level",
    near: tuple[float, float] | None,
    limit: int | None,
    form: str | None,
    out: str | None,
) -> None:
    """Ask a lake in SQL (DuckDB's), or by one of the named queries.

    Views: media, curve, episode, summary, alert, dead_letter; best and best_summary are curve and summary
    with one modality a channel, the best there is. Their columns: moodstream query LAKE "DESCRIBE summary".

    \b
    moodstream query lake "SELECT media_id, emotion, arousal_mean FROM best_summary ORDER BY 3 DESC"
    moodstream query lake "SELECT * FROM episode WHERE emotion = 'anger'" --format json
    moodstream query lake "SELECT * FROM dead_letter" --out problems.csv
    moodstream query lake --rising
    moodstream query lake --near 0.6,-0.4 --limit 5
    moodstream query lake --like song.mp3 --format csv
    moodstream query lake --arc "0:-0.4,-0.5 0.6:0,0 1:0.6,0.8" --level removed
    """
    ways = {"SQL": sql, "--rising": rising, "--like": like, "--arc": arc, "--near": near}
    asked = [name for name, given in ways.items() if given]
    if len(asked) != 1:
        told = f"not {' and '.join(asked)}" if asked else 'e.g. "SELECT * FROM summary"'
        raise click.UsageError(
            f"give one of SQL, --rising, --like MEDIA, --arc POINTS and --near V,A; {told}"
        )

    from moodstream.pipelines import tabular
    from moodstream.sinks.read import Lake

    form = form or tabular.by_suffix(out) or "table"
    place = lake.removeprefix("parquet:")
    store, most = Lake(place), limit or 20
    if sql:
        rows = store.sql(sql)
        rows = rows.slice(0, limit) if limit else rows
    elif like or arc:
        rows = _by_arc(place, like, arc, level, most)
    elif near:
        rows = store.near(*near, most).to_arrow()
    else:
        rows = store.rising(most).to_arrow()
    tabular.write(rows, form, out)


def _by_arc(
    lake: str,
    like: str | None,
    arc: tuple[tuple[float, float, float], ...] | None,
    level: "Level",
    limit: int,
) -> "pa.Table":
    """What the index of a lake finds: media_id, take, channel, distance.

    Raises:
        UsageError: there is no index, the media is not in it, or the points are no arc.
    """
    import pyarrow as pa

    from moodstream.serving.search.index import ArcIndex
    from moodstream.serving.search.questions import MOST, Arc, Like, Question

    what = Like(like, level=level) if like else Arc(arc or (), level)
    found = ArcIndex.open(lake).search(Question(what, limit=min(limit, MOST))).items
    rows = [(item.media_id, item.take, item.channel, item.distance) for item in found]
    names = ("media_id", "take", "channel", "distance")
    return pa.table({name: [row[place] for row in rows] for place, name in enumerate(names)})
