"""Episodes and curves as the files that other tools of the field read.

Every media goes out in its last take, with one modality a channel: the best there is unless asked
otherwise. File names come from media ids, but no id leads out of the folder and no two share a name.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from moodstream.sinks import export_annotations, export_text
from moodstream.sinks.exported import Item
from moodstream.sinks.read import Lake
from moodstream.transforms.errors import StoreError, UsageError

FORMATS: dict[str, Callable[[Iterator[Item], Path], list[Path]]] = {
    "jams": export_annotations.write_jams,
    "rttm": export_text.write_rttm,
    "sed": export_text.write_sed,
    "textgrid": export_annotations.write_textgrid,
    "webvtt": export_text.write_webvtt,
    "audformat": export_annotations.write_audformat,
    "csv": export_text.write_csv,
}


def export(
    lake: Lake,
    form: str,
    out: str | Path,
    media_ids: Sequence[str] = (),
    modality: str | None = None,
) -> list[Path]:
    """Write media of a lake into the folder `out`, which is made; files of the same name are replaced.

    Args:
        form: one of `FORMATS`.
        media_ids: all media if empty.
        modality: the best there is of each channel if None.

    Returns:
        The files written.

    Raises:
        UsageError: No such format or media; nothing was written.
        MissingExtraError: The format needs a library that is not installed.
        StoreError: The folder cannot be written.
    """
    if form not in FORMATS:
        raise UsageError(f"no format is called {form!r}; there are {', '.join(FORMATS)}")
    known = lake.media_ids()
    if unknown := sorted(set(media_ids) - set(known)):
        raise UsageError(f"the lake {lake.path} has no media {', '.join(map(repr, unknown))}")
    wanted = list(dict.fromkeys(media_ids)) or known
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        return FORMATS[form](_items(lake, wanted, modality), Path(out))
    except OSError as error:
        raise StoreError(f"cannot export to {out}: {error}") from error


def _items(lake: Lake, media_ids: Sequence[str], modality: str | None) -> Iterator[Item]:
    for media_id in media_ids:
        media = lake.rows("media", media_id).to_pylist()[-1]
        episodes = lake.episodes(media_id, modality=modality)
        yield Item(media, episodes, lake.curve(media_id, modality=modality))
