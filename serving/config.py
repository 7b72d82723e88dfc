"""What a service is told: one frozen object, made by `moodstream serve` and handed to `service.build`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

INDEX_FOLDER, CACHE_FOLDER = "_index", "_serve"  # beside the tables of a lake; its readers ignore them
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class ServeConfig:
    """All that a service is told.

    Args:
        lake: where the rows are.
        bootstrap: where Kafka is, several with commas; None: no live rows.
        kafka: settings of that connection as kafka-python calls them; a value `@FILE` is read from a file.
        prefix: what the names of the topics of results begin with.
        media_roots: folders whose files may be played; nothing outside them is ever opened.
        host: where it listens; anywhere but on loopback it wants keys.
        port: likewise; 0: the system chooses.
        keys: the file of hashed keys; None: none are asked for.
        audit: the file that says who read which media; None: nothing is written.
        emotions_for: `customer`: emotions of other sides of a call never leave the service; or `all`.
        responsible: who answers for `all`.
        index: where the index of arcs lies; None: beside the tables.
        cache: where the store keeps what it made of the lake; None: beside the tables.
    """

    lake: Path
    bootstrap: str | None = None
    kafka: Mapping[str, str] = field(default_factory=dict)
    prefix: str = "moodstream."
    media_roots: tuple[Path, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8080
    keys: Path | None = None
    audit: Path | None = None
    emotions_for: str = "customer"
    responsible: str = ""
    index: Path | None = None
    cache: Path | None = None

    @property
    def index_folder(self) -> Path:
        return self.index or self.lake / INDEX_FOLDER

    @property
    def cache_folder(self) -> Path:
        return self.cache or self.lake / CACHE_FOLDER

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK
