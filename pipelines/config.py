"""What a catalogue run is told: everything a user can choose, with its default."""

from dataclasses import dataclass, field
from typing import Literal

from moodstream.transforms.session import Settings


@dataclass(frozen=True)
class Config:
    """A catalogue run: media in, a store out.

    `out` is a Delta Lake folder or URI, `parquet:DIR`, or `postgresql://…`.
    """

    paths: tuple[str, ...] = ()
    out: str = ""
    manifest: str | None = None
    id: Literal["path", "stem", "hash"] = "path"
    channels: Literal["mix", "split"] = "mix"
    roles: tuple[str, ...] = ()  # one a channel, with channels="split"
    pair: bool = True  # song.mp3 and song.mid in one folder are one media
    force: bool = False  # analyse again what is done
    workers: int = 1  # processes
    beam_options: tuple[str, ...] = ()  # passed to Beam, e.g. --runner=PortableRunner for a cluster
    settings: Settings = field(default_factory=Settings)
