"""Manifests: a CSV or JSON Lines file that says which files belong to which media.

Columns: `media_id` and `path` (relative to the manifest, absolute, or a URI) must be there. These may:
`offset_ms` (where the file's zero lies on the media's time axis), `roles` (one a channel, with commas or
bars; a list in JSON), `channels` (`mix` or `split`), `kind` (`audio`, `video`, `midi`; else the name
says). Lines of one `media_id` are parts of one media: a recording and its MIDI, or recordings of the sides
of a call, each with one role of its own. Other columns are left alone.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moodstream.transforms.errors import UsageError
from moodstream.transforms.sources import is_uri

_KINDS = ("", "audio", "video", "midi")
_CHANNELS = ("", "mix", "split")


@dataclass(frozen=True)
class Entry:
    """One line of a manifest: one file."""

    media_id: str
    path: str
    offset_ms: int = 0
    roles: tuple[str, ...] = ()
    channels: str = ""  # mix, split, or what the run says
    kind: str = ""  # audio, video, midi, or what the extension says


def read_manifest(path: str | Path) -> list[Entry]:
    """Read a manifest; `.jsonl` and `.ndjson` are JSON Lines, everything else CSV.

    Raises:
        UsageError: it is missing or has a line that does not make sense; the message names file and line.
    """
    path = Path(path)
    lines = _json_lines if path.suffix.lower() in (".jsonl", ".ndjson") else _csv_lines
    try:
        entries = [_entry(number, line, path.parent) for number, line in lines(path)]
    except OSError as error:
        raise UsageError(f"cannot read the manifest {path}: {error.strerror}") from error
    except (ValueError, csv.Error) as error:
        raise UsageError(f"manifest {path}: {error}") from error
    if not entries:
        raise UsageError(f"the manifest {path} has no lines")
    return entries


def _csv_lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        for line in reader:
            yield reader.line_num, line


def _json_lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            if text.strip():
                try:
                    line = json.loads(text)
                except ValueError as error:
                    raise ValueError(f"line {number} is not JSON: {error}") from error
                if not isinstance(line, dict):
                    raise ValueError(f"line {number} is {text.strip()[:40]!r}, not an object")
                yield number, line


def _entry(number: int, line: Mapping[str, Any], folder: Path) -> Entry:
    media_id, path = str(line.get("media_id") or ""), str(line.get("path") or "")
    if not media_id or not path:
        raise ValueError(f"line {number} has no media_id or no path")
    offset = line.get("offset_ms") or 0
    try:
        offset_ms = int(offset)
    except (TypeError, ValueError):
        raise ValueError(f"line {number}: offset_ms is {offset!r}, must be an integer") from None
    roles = line.get("roles") or line.get("role") or ()
    if isinstance(roles, str):
        roles = [role.strip() for role in re.split(r"[,|;]", roles)]
    channels, kind = str(line.get("channels") or ""), str(line.get("kind") or "")
    if channels not in _CHANNELS or kind not in _KINDS:
        raise ValueError(
            f"line {number} has channels {channels!r} and kind {kind!r}; channels are mix or split, kinds"
            " audio, video or midi"
        )
    where = path if is_uri(path) else str(folder / path)
    return Entry(media_id, where, offset_ms, tuple(map(str, roles)), channels, kind)
