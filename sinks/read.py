"""The read side of a lake, or of a folder of Parquet files: rows as Polars frames, SQL through DuckDB.

Readers see only what counts (`sinks/layout.py`). The media table is read first, then the others: what it
names is in them, however many writers are at work.
"""

from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
from deltalake import DeltaTable

from moodstream.sinks import queries
from moodstream.sinks.layout import STORED, TABLES, WRITE_ID, Done, check, counted, done, files, scan
from moodstream.transforms.errors import UsageError

MODALITIES = ("fused", "symbolic", "music", "speech", "face")  # the best first


class Lake:
    """What is stored at `path`, as of each call. If it is deleted and made anew, make this anew too.

    Raises:
        UsageError: There is no lake.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        check(self.path)
        self._opened: dict[str, DeltaTable] = {}

    def media(self) -> pl.DataFrame:
        """One row a media and take."""
        return counted(self.path).drop(WRITE_ID)

    def media_ids(self) -> list[str]:
        return counted(self.path, [])["media_id"].unique(maintain_order=True).to_list()

    def done(self) -> Done:
        """(media_id, take) to (content_hash, models, settings)."""
        return done(self.path)

    def curve(
        self, media_id: str, channel: str | None = None, modality: str | None = None, take: int | None = None
    ) -> pl.DataFrame:
        """The half seconds of one media, by channel and time.

        Args:
            channel: all channels if None.
            modality: the best there is of each channel if None.
            take: the last one if None.

        Raises:
            UsageError: The lake has no such media.
        """
        return self._spans("curve", media_id, channel, modality, take).sort("channel", "modality", "start_ms")

    def episodes(
        self, media_id: str, channel: str | None = None, modality: str | None = None, take: int | None = None
    ) -> pl.DataFrame:
        """The episodes of one media, by channel and time; arguments as for `curve`."""
        return self._spans("episode", media_id, channel, modality, take).sort(
            "channel", "modality", "start_ms"
        )

    def alerts(self, media_id: str, take: int | None = None) -> pl.DataFrame:
        """The alerts of one media by time."""
        return self._read("alert", self._take(media_id, take)).sort("start_ms")

    def summary(
        self,
        media_id: str | None = None,
        channel: str | None = None,
        modality: str | None = None,
        take: int | None = None,
    ) -> pl.DataFrame:
        """The summaries of one media, arguments as for `curve`; or the best ones of all media."""
        if media_id is None:
            return self._frame("SELECT * FROM best_summary ORDER BY media_id, take, channel")
        return self._spans("summary", media_id, channel, modality, take).sort("channel", "modality")

    def dead_letters(self) -> pl.DataFrame:
        """What could not be done in the newest analysis of each media."""
        return self._frame("SELECT * FROM dead_letter ORDER BY media_id, take, reference")

    def rows(self, table: str, media_id: str) -> pa.Table:
        """The rows of one media in one table, all takes, as Arrow; none if it is unknown."""
        if table == "dead_letter":
            rows = self._arrow("SELECT * FROM dead_letter WHERE media_id = $media_id", media_id=media_id)
            return rows.cast(pa.schema(list(STORED[table])[:-1]))
        media = self._media(media_id)
        if table == "media":
            return media.drop(WRITE_ID).to_arrow()
        return self._read(table, media).to_arrow()

    def sql(self, query: str) -> pa.Table:
        """Answer a query over the views `curve`, `episode`, `summary`, `alert`, `dead_letter` and `media`.

        `best` and `best_summary` are `curve` and `summary` with one modality a channel: the best there is.

        Raises:
            UsageError: The query is wrong.
        """
        try:
            return self._arrow(query)
        except duckdb.Error as error:
            raise UsageError(f"the query failed: {error}") from error

    def rising(self, limit: int = 20) -> pl.DataFrame:
        """Media whose arousal rises in their last third, the steepest first; see `queries.RISING`."""
        return self._frame(queries.RISING, limit=limit)

    def near(self, valence: float, arousal: float, limit: int = 20) -> pl.DataFrame:
        """Media whose mean lies nearest to a point of the plane; see `queries.NEAR`."""
        if not (-1 <= valence <= 1 and -1 <= arousal <= 1):
            raise UsageError(f"valence and arousal lie in -1..1, not at {valence}, {arousal}")
        return self._frame(queries.NEAR, limit=limit, valence=valence, arousal=arousal)

    def connection(self) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection with the views, over the lake as of this moment."""
        connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
        connection.execute("CREATE SCHEMA stored")
        for name in ("media", *(name for name in TABLES if name != "media")):  # media first
            sources = files(self.path, name, opened=self._opened)
            if sources:
                listed = ", ".join(_literal(source) for source in sources)
                connection.execute(
                    f"CREATE VIEW stored.{name} AS SELECT * FROM read_parquet([{listed}], union_by_name=true)"
                )
            else:
                connection.register(f"{name}_without_rows", STORED[name].empty_table())
                connection.execute(f"CREATE VIEW stored.{name} AS SELECT * FROM {name}_without_rows")
        connection.execute(queries.VIEWS)
        return connection

    def _arrow(self, query: str, **values: Any) -> pa.Table:
        with self.connection() as connection:
            answer = connection.sql(query, params=values or None)
            return answer.to_arrow_table() if answer is not None else pa.table({})

    def _frame(self, query: str, **values: Any) -> pl.DataFrame:
        return pl.DataFrame(self._arrow(query, **values))

    def _media(self, media_id: str, columns: list[str] | None = None) -> pl.DataFrame:
        """The counted media rows of one media, one a take, in order."""
        sources = files(self.path, "media", opened=self._opened)
        if sources:
            found = _rows("media", sources, pl.col("media_id") == media_id, columns)
        else:
            found = pl.DataFrame(STORED["media"].empty_table())
        rows = found.sort("take", "analyzed_at", "analysis_id", WRITE_ID)
        return rows.unique("take", keep="last", maintain_order=True)

    def _take(self, media_id: str, take: int | None) -> pl.DataFrame:
        """Which write holds a take of a media, the last one if None.

        Raises:
            UsageError: The lake has no such media.
        """
        media = self._media(media_id, ["media_id", "take", "analyzed_at", "analysis_id", WRITE_ID])
        if media.is_empty():
            raise UsageError(f"the lake {self.path} has no media {media_id!r}")
        return media.tail(1) if take is None else media.filter(pl.col("take") == take)

    def _read(self, table: str, media: pl.DataFrame, columns: list[str] | None = None) -> pl.DataFrame:
        """The rows of some takes of one media, which the statistics find in one file or a few."""
        parts = [pl.DataFrame(STORED[table].empty_table()).select(columns or pl.exclude(WRITE_ID))]
        for media_id, take, write_id in media.select("media_id", "take", WRITE_ID).iter_rows():
            sources = files(self.path, table, (write_id, write_id), self._opened)
            if sources:
                same = pl.col(WRITE_ID) == write_id
                same &= (pl.col("media_id") == media_id) & (pl.col("take") == take)
                parts.append(_rows(table, sources, same, columns or list(parts[0].columns)))
        return pl.concat(parts)

    def _spans(
        self, table: str, media_id: str, channel: str | None, modality: str | None, take: int | None
    ) -> pl.DataFrame:
        media = self._take(media_id, take)
        rows = self._read(table, media)
        if channel is not None:
            rows = rows.filter(pl.col("channel") == channel)
        if modality is not None:
            return rows.filter(pl.col("modality") == modality)
        best = self._read("summary", media, ["channel", "modality", "estimated_share"])
        empty = (pl.col("modality") != "fused") & (pl.col("estimated_share") == 0)
        rank = pl.col("modality").replace_strict(MODALITIES, range(len(MODALITIES)), default=len(MODALITIES))
        best = best.sort(empty, rank).unique("channel", keep="first", maintain_order=True)
        return rows.join(best, on=["channel", "modality"], how="semi")


def _rows(table: str, sources: list[str], which: pl.Expr, columns: list[str] | None) -> pl.DataFrame:
    return scan(sources, table).filter(which).select(columns or pl.all()).collect()


def _literal(path: str) -> str:
    """A path as DuckDB wants it in SQL: no character of it is a pattern, none ends the string."""
    for character in "[*?":
        path = path.replace(character, f"[{character}]")
    return "'" + path.replace("'", "''") + "'"
