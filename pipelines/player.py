"""A media's sound for a page that must not load anything: embedded, re-coded when a browser cannot play it.

Small files that browsers play go in as they are; others become mp3 when that is cheap; MIDI is played by
plain tones. What is too large or out of reach is named, and the page asks for the file.
"""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import numpy as np

from moodstream.models.base import Float, Notes

EMBED_BYTES = 20 << 20  # of the file as it is put into the page
BULKY_BYTES = 4 << 20  # uncompressed sound above this is re-coded rather than embedded
RECODE_S = 15 * 60  # longer media are not worth the wait
TONES_HZ = 22_050
TONES_NOTES = 20_000

_PLAYS = {  # what the browsers of today play, by container and codec
    "mp3": {"mp3"},
    "wav": {"pcm_s16le", "pcm_s24le", "pcm_f32le", "pcm_u8"},
    "flac": {"flac"},
    "ogg": {"vorbis", "opus", "flac"},
    "mov": {"aac", "mp3", "h264", "av1", "flac", "opus"},
    "matroska": {"vorbis", "opus", "vp8", "vp9", "av1"},
}
_TYPES = {
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "mov": "audio/mp4",
    "matroska": "audio/webm",
}


@dataclass(frozen=True)
class Player:
    """What the page gets: `src` is a data URI, a file name, or None; `note` says what was done and why."""

    kind: str  # audio or video
    src: str | None
    name: str
    note: str = ""


def player(sources: list[str], duration_s: float, folder: Path | None = None) -> Player:
    """The sound of a media, the first of its sources that can be heard.

    Args:
        sources: Paths or URIs as the media's row gives them.
        duration_s: Length of the media, which bounds the work.
        folder: Where relative paths may start besides the current folder.
    """
    last = Player("audio", None, "")
    for source in sources:
        last = _player(source, duration_s, folder)
        if last.src and last.src.startswith("data:"):
            break
    return last


def _player(source: str, duration_s: float, folder: Path | None) -> Player:
    name = PurePosixPath(urlsplit(source).path).name if "://" in source else Path(source).name
    path = _find(source, folder)
    if path is None:
        return Player("audio", None, name, "the file is not where it was when it was analysed")
    size = path.stat().st_size
    if path.suffix.lower() in (".mid", ".midi"):
        return _tones(path, name, duration_s)
    shape = _shape(path)
    if shape is None:
        return Player("audio", None, name, "the file cannot be opened any more")
    kind, container, plays = shape
    bulky = container in ("wav", "flac") and size > BULKY_BYTES
    if plays and size <= EMBED_BYTES and not bulky:
        mime = _TYPES[container].replace("audio/", f"{kind}/") if kind == "video" else _TYPES[container]
        return Player(kind, _data_uri(path.read_bytes(), mime), name)
    if duration_s <= RECODE_S:
        recoded = _to_mp3(path)
        if recoded:
            return Player(
                "audio", _data_uri(recoded, "audio/mpeg"), name, "played as mp3, made from the file"
            )
    if plays:
        return Player(kind, name, name, "too large to put into this page: keep the file beside it")
    return Player("audio", None, name, "browsers cannot play this format")


def _find(source: str, folder: Path | None) -> Path | None:
    if "://" in source and not source.startswith("file://"):
        return None
    path = Path(urlsplit(source).path if source.startswith("file://") else source)
    for candidate in (path, *([folder / path] if folder else [])):
        if candidate.is_file():
            return candidate
    return None


def _shape(path: Path) -> tuple[str, str, bool] | None:
    """Kind, container and whether browsers play it, by what is inside and not by the name."""
    import av

    try:
        with av.open(str(path), metadata_errors="ignore") as file:
            streams = [s for s in file.streams if s.type in ("audio", "video") and s.codec_context]
            cover = {
                s.index for s in streams if s.type == "video" and s.disposition & s.disposition.attached_pic
            }
            streams = [s for s in streams if s.index not in cover]
            container = file.format.name.split(",")[0]
            codecs = {s.codec_context.name.replace("mp3float", "mp3") for s in streams}
            kind = "video" if any(s.type == "video" for s in streams) else "audio"
    except (av.error.FFmpegError, OSError):
        return None
    aliases = {"libopus": "opus", "libvorbis": "vorbis", "libdav1d": "av1"}
    codecs = {aliases.get(codec, codec) for codec in codecs}
    return kind, container, bool(codecs) and codecs <= _PLAYS.get(container, set())


def _blocks(path: Path) -> Iterator[Float]:
    """The file's sound, [2, n] at 44.1 kHz, as far as it decodes."""
    import av

    try:
        with av.open(str(path), metadata_errors="ignore") as file:
            resampler = av.AudioResampler("fltp", "stereo", 44_100)
            for frame in file.decode(audio=0):
                frame.pts = None
                for block in resampler.resample(frame):
                    yield np.asarray(block.to_ndarray(), np.float32)
    except (av.error.FFmpegError, IndexError, OSError):
        return


def _to_mp3(path: Path) -> bytes:
    return _encode(_blocks(path), 44_100)


def _encode(blocks: Iterator[Float], rate_hz: int) -> bytes:
    """Blocks [channels, n] as mp3, empty when there is no sound."""
    import av

    buffer, any_sound = io.BytesIO(), False
    with av.open(buffer, "w", format="mp3") as file:
        stream = None
        for block in blocks:
            layout = "stereo" if len(block) == 2 else "mono"
            if stream is None:
                stream = file.add_stream("libmp3lame", rate=rate_hz, layout=layout)
                stream.bit_rate = 96_000
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block, np.float32), "fltp", layout)
            frame.sample_rate = rate_hz
            file.mux(stream.encode(frame))
            any_sound = True
        if stream is not None:
            file.mux(stream.encode(None))
    return buffer.getvalue() if any_sound else b""


def _tones(path: Path, name: str, duration_s: float) -> Player:
    from moodstream.transforms.errors import MediaError

    try:
        sound = tones(path, duration_s)
    except (MediaError, OSError):
        return Player("audio", None, name, "the file cannot be opened any more")
    if sound is None:
        return Player("audio", None, name, "too long to be played by this page")
    return Player("audio", _data_uri(sound, "audio/mpeg"), name, "its notes, played by plain tones")


def tones(path: Path, duration_s: float) -> bytes | None:
    """The notes of a MIDI file as mp3, played by plain tones; None if it is too long for that.

    Raises:
        NotesError: it holds no notes, or is beyond repair.
        OSError: it cannot be read.
    """
    from moodstream.transforms.notes import read_notes

    notes = read_notes(path)
    if duration_s > RECODE_S or len(notes) > TONES_NOTES:
        return None
    samples = synthesize(notes, TONES_HZ)
    cuts = (samples[None, i : i + TONES_HZ] for i in range(0, len(samples), TONES_HZ))
    return _encode(cuts, TONES_HZ)


def synthesize(notes: Notes, rate_hz: int) -> Float:
    """Notes as decaying tones of three partials, peak 0.7; drums are left out.

    Returns:
        [n] mono samples up to the end of the media.
    """
    out = np.zeros(int((notes.end_of_media_s + 0.5) * rate_hz) + 1, np.float32)
    for i in np.flatnonzero(~notes.drum):
        start = int(notes.start_s[i] * rate_hz)
        seconds = min(float(notes.end_s[i] - notes.start_s[i]) + 0.08, 6.0)
        t = np.arange(min(int(seconds * rate_hz), len(out) - start)) / rate_hz
        if not len(t):
            continue
        phase = 2 * np.pi * 440 * 2 ** ((float(notes.pitch[i]) - 69) / 12) * t
        tone = (
            np.sin(phase)
            + 0.35 * np.sin(2 * phase) * np.exp(-4 * t)
            + 0.15 * np.sin(3 * phase) * np.exp(-7 * t)
        )
        envelope = np.minimum(t / 0.006, 1) * np.exp(-1.6 * t) * np.minimum((t[-1] - t) / 0.06, 1)
        out[start : start + len(t)] += (tone * envelope * (notes.velocity[i] / 127) ** 1.5).astype(np.float32)
    peak = float(np.abs(out).max())
    return out * np.float32(0.7 / peak) if peak else out


def _data_uri(data: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"
