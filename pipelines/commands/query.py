"""`moodstream query`: SQL over a lake, and the questions people ask most."""

import click

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


@click.command(no_args_is_help=True)
@click.argument("lake")
@click.argument("sql", required=False)
@click.option(
    "--rising", is_flag=True, help="Media whose arousal rises in the last third, the steepest first."
)
@click.option("--like", metavar="MEDIA", help="Media whose curve has the same arc as this one's.")
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
    """
    ways = {"SQL": sql, "--rising": rising, "--like": like, "--near": near}
    asked = [name for name, given in ways.items() if given]
    if len(asked) != 1:
        told = f"not {' and '.join(asked)}" if asked else 'e.g. "SELECT * FROM summary"'
        raise click.UsageError(f"give one of SQL, --rising, --like MEDIA and --near V,A; {told}")

    from moodstream.pipelines import tabular
    from moodstream.sinks.read import Lake

    form = form or tabular.by_suffix(out) or "table"
    store, most = Lake(lake.removeprefix("parquet:")), limit or 20
    if sql:
        rows = store.sql(sql)
        rows = rows.slice(0, limit) if limit else rows
    elif like:
        rows = store.like(like, most).to_arrow()
    elif near:
        rows = store.near(*near, most).to_arrow()
    else:
        rows = store.rising(most).to_arrow()
    tabular.write(rows, form, out)
