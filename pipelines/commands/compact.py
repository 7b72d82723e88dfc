"""`moodstream compact`: keep a lake small and quick."""

import click


@click.command(no_args_is_help=True)
@click.argument("lake")
@click.option(
    "--retention-hours",
    type=click.FloatRange(0),
    default=24.0,
    show_default=True,
    help="What is younger stays: longer than any run or query takes. 0 for a lake nobody else uses now.",
)
def compact(lake: str, retention_hours: float) -> None:
    """Merge the small files of a lake and drop rows that no longer count.

    Safe while others read and write. Worth it after many runs, and before a lake is copied elsewhere.

    \b
    moodstream compact lake
    moodstream compact lake --retention-hours 0
    """
    from moodstream.sinks.compact import compact as compact_lake

    for table in compact_lake(lake, retention_hours):
        click.echo(
            f"{table.table:<12} {table.files_before:>6,} -> {table.files_after:,} files, "
            f"{table.rows_removed:,} rows dropped"
        )
