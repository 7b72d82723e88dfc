"""Reading: paths, folders, globs, URIs and manifests in, the media to analyse out. Nothing is decoded here.

Every media has an id before any work starts: from the manifest, else the path relative to the argument that
led to it, its stem, or its content. A song's recording and its MIDI (one stem, one folder) are one media.
What cannot be read stays in the list: it becomes a dead letter, not a gap.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from glob import glob, has_magic
from pathlib import Path, PurePosixPath

from moodstream.transforms.elements import Media, Part
from moodstream.transforms.errors import ReadError, UsageError
from moodstream.transforms.manifest import Entry, read_manifest
from moodstream.transforms.sources import (
    content_hash,
    filesystem_of,
    local_path,
    open_bytes,
    size_of,
    source_of,
)

__all__ = ["AUDIO", "MIDI", "VIDEO", "content_hash", "find_media", "kind_of", "open_bytes", "size_of"]

AUDIO = frozenset(
    {
        "aac",
        "ac3",
        "aif",
        "aifc",
        "aiff",
        "amr",
        "ape",
        "au",
        "awb",
        "caf",
        "flac",
        "m4a",
        "m4b",
        "mka",
        "mp2",
    }
    | {"mp3", "oga", "ogg", "opus", "snd", "tta", "w64", "wav", "wave", "wma", "wv"}
)
VIDEO = frozenset(
    {"3gp", "avi", "flv", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "ts", "webm", "wmv"}
)
MIDI = frozenset({"kar", "mid", "midi"})
_HASH_CHARS = 16


@dataclass(frozen=True)
class _Found:
    """A file, and where it lies as seen from the argument that led to it."""

    source: str
    relative: str

    @property
    def kind(self) -> str:
        return kind_of(self.source)


def kind_of(source: str) -> str:
    """`midi`, `video` or `audio`, by the extension; `audio` where it says nothing."""
    extension = _extension(source)
    return "midi" if extension in MIDI else "video" if extension in VIDEO else "audio"


def find_media(
    paths: Iterable[str | Path],
    *,
    id: str = "path",
    manifest: str | Path | None = None,
    channels: str = "mix",
    roles: Sequence[str] = (),
    pair: bool = True,
) -> list[Media]:
    """Find the media to analyse.

    Args:
        paths: files (taken whatever they are called), folders (searched for known extensions), globs, URIs.
        id: `path` (relative to the argument), `stem` (the name without extension) or `hash` (of the content).
        manifest: a CSV or JSON Lines file that names files, see `transforms/manifest.py`; its media come
            first, and a file that it names is not taken a second time.
        channels: `mix` all channels down, or `split` them.
        roles: one a channel, e.g. `("agent", "customer")`.
        pair: whether a recording and a MIDI of one stem in one folder are one media.

    Raises:
        UsageError: a path is missing, nothing was found, or two media would share an id.
        MissingExtraError: a URI needs a package that is not installed.
    """
    if id not in ("path", "stem", "hash") or channels not in ("mix", "split"):
        raise UsageError(f"id is {id!r} (path, stem or hash), channels {channels!r} (mix or split)")
    entries = read_manifest(manifest) if manifest is not None else []
    missing = [entry.path for entry in entries if not _exists(entry.path)]
    found: list[_Found] = []
    for path in map(str, paths):
        if not path.strip():  # as a shell makes of a variable that is not set; `Path("")` is this folder
            raise UsageError("an empty path; for the current folder say .")
        here = list(_expand(path))
        if not here and not _is_folder(path):
            missing.append(path)
        found += here
    if missing:
        raise UsageError(f"no such file or folder: {', '.join(missing[:5])}")
    listed = _from_manifest(entries, channels, roles)
    taken = {_identity(part.source) for media in listed for part in media.parts}
    rest: dict[str, _Found] = {}
    for file in found:
        if _identity(file.source) not in taken:
            rest.setdefault(_identity(file.source), file)  # the first of several ways to a file counts
    media = listed + [_media(group, id, channels, roles) for group in _groups(list(rest.values()), pair)]
    if not media:
        known = " ".join(sorted(AUDIO | VIDEO | MIDI))
        raise UsageError(f"no media found; folders are searched for files ending in: {known}")
    _check_ids(media)
    return media


# ---------------------------------------------------------------- from arguments to files


def _expand(argument: str) -> Iterator[_Found]:
    """The files that one argument leads to; none where it is missing."""
    path = local_path(argument)
    if path is None:
        yield from _expand_uri(argument)
    elif path.is_dir():
        yield from _walk(path, path)
    elif os.path.lexists(path):
        yield _Found(source_of(path), _text(path.name))
    elif has_magic(argument):
        base = _fixed_part(path)
        for match in sorted(map(Path, glob(str(path), recursive=True))):  # noqa: PTH207
            if match.is_dir():
                continue
            yield _Found(source_of(match), _text(match.relative_to(base).as_posix()))


def _walk(folder: Path, base: Path) -> Iterator[_Found]:
    unlistable: list[OSError] = []
    for where, folders, names in os.walk(folder, onerror=unlistable.append):
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        for name in sorted(names):
            file = Path(where, name)
            wanted = _extension(name) in AUDIO | VIDEO | MIDI and not _is_hidden(name)
            if wanted and (file.is_file() or not file.exists()):  # no pipes or devices; broken links stay
                yield _Found(source_of(file), _text(file.relative_to(base).as_posix()))
    for error in unlistable:
        file = Path(error.filename)
        yield _Found(source_of(file), _text(file.relative_to(base).as_posix()))


def _fixed_part(pattern: Path) -> Path:
    """The folders of a glob before its first wildcard."""
    while has_magic(str(pattern)):
        pattern = pattern.parent
    return pattern


def _expand_uri(uri: str) -> Iterator[_Found]:
    filesystem, path = filesystem_of(uri)
    if has_magic(path):
        base = PurePosixPath(path)
        while has_magic(str(base)):
            base = base.parent
        names = filesystem.glob(path)
    elif filesystem.isdir(path):
        base, names = PurePosixPath(path), filesystem.find(path)
        names = [name for name in names if _extension(name) in AUDIO | VIDEO | MIDI]
    else:
        base = PurePosixPath(path).parent
        names = [path] if filesystem.exists(path) else []
    for name in sorted(names):
        yield _Found(filesystem.unstrip_protocol(name), PurePosixPath(name).relative_to(base).as_posix())


def _exists(source: str) -> bool:
    path = local_path(source)
    if path is not None:
        return os.path.lexists(path)
    filesystem, remote = filesystem_of(source)
    return bool(filesystem.exists(remote))


def _is_folder(source: str) -> bool:
    path = local_path(source)
    return path is not None and path.is_dir()


def _is_hidden(name: str) -> bool:
    """Whether a name is one that people do not see; a song's may start with an ellipsis."""
    return name.startswith(".") and not name.startswith("..")


def _identity(source: str) -> str:
    """The same for two ways of writing one file's path; links are not followed."""
    path = local_path(source)
    return source if path is None else os.path.abspath(path)  # noqa: PTH100


def _extension(name: str) -> str:
    return PurePosixPath(name).suffix[1:].lower()


def _text(name: str) -> str:
    """A name as text; bytes that are not UTF-8 become question marks."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


# ---------------------------------------------------------------- from files to media


def _groups(files: Sequence[_Found], pair: bool) -> Iterator[tuple[_Found, ...]]:
    """Files that are one media: a recording and a MIDI of one stem in one folder, or a file alone."""
    stems: dict[PurePosixPath, list[_Found]] = {}
    for file in files:
        stems.setdefault(PurePosixPath(file.source).with_suffix(""), []).append(file)
    for group in stems.values():
        sounds = [file for file in group if file.kind != "midi"]
        if pair and len(group) == 2 and len(sounds) == 1:
            yield tuple(sorted(group, key=lambda file: file.kind == "midi"))
        else:
            yield from ((file,) for file in group)


def _media(group: tuple[_Found, ...], id: str, channels: str, roles: Sequence[str]) -> Media:
    parts = tuple(Part(file.source, file.kind) for file in group)
    media = _with_channels(Media(group[0].relative, parts), channels, roles)
    if id == "stem":
        return replace(media, media_id=PurePosixPath(group[0].relative).stem)
    if id == "hash":
        try:
            content = content_hash(media)
        except ReadError:
            return media  # it keeps its path, and becomes a dead letter
        return replace(media, media_id=content[:_HASH_CHARS], content_hash=content)
    return media


def _with_channels(media: Media, channels: str, roles: Sequence[str]) -> Media:
    if all(part.kind == "midi" for part in media.parts):
        return media
    return replace(media, split=channels == "split", roles=tuple(roles))


def _from_manifest(entries: Sequence[Entry], channels: str, roles: Sequence[str]) -> list[Media]:
    """One media an id, its parts in the order of the lines, sound first."""
    by_id: dict[str, list[Entry]] = {}
    for entry in entries:
        by_id.setdefault(entry.media_id, []).append(entry)
    media = []
    for media_id, lines in by_id.items():
        parts = [Part(line.path, line.kind or kind_of(line.path), line.offset_ms) for line in lines]
        parts.sort(key=lambda part: part.kind == "midi")
        sounds = [part.source for part in parts if part.kind != "midi"]
        if len(sounds) > 1 and len(sounds) == len(parts) and _are_sides(lines):
            sides = [replace(part, role=line.roles[0]) for part, line in zip(parts, lines, strict=True)]
            its_roles = tuple(part.role for part in sides)
            media.append(Media(media_id, tuple(sides), roles=its_roles, split=True))
            continue
        if len(sounds) > 1 or len(parts) - len(sounds) > 1:
            raise UsageError(
                f"the manifest gives {media_id!r} to several recordings or several MIDI files:"
                f" {', '.join(part.source for part in parts)}; a media has one of each at most, or several"
                " recordings each with a role of its own, the sides of a call"
            )
        its_roles = next((line.roles for line in lines if line.roles), tuple(roles))
        its_channels = next((line.channels for line in lines if line.channels), channels)
        media.append(_with_channels(Media(media_id, tuple(parts)), its_channels, its_roles))
    return media


def _are_sides(lines: Sequence[Entry]) -> bool:
    """Whether recordings are the sides of one call: each has one role, and no two the same."""
    return all(len(line.roles) == 1 for line in lines) and len({line.roles for line in lines}) == len(lines)


def _check_ids(media: Sequence[Media]) -> None:
    seen: dict[str, str] = {}
    for one in media:
        source = one.parts[0].source
        if one.media_id in seen:
            raise UsageError(
                f"two media would share the id {one.media_id!r}: {seen[one.media_id]} and {source};"
                " give the folder above them, another --id, or a manifest"
            )
        seen[one.media_id] = source
