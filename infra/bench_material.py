"""What `infra/bench.py` measures on: long files joined from real recordings, kept in a cache folder.

Conventions: sound is joined as mono float at the wanted rate; every recording is used once before any is used
again, and each time again it plays 3 % slower, so that no two stretches of a long file are the same samples.
"""

import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path

import av
import mido
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]

MUSIC = ("music/4qaed", "music/emotify", "music/emomusic", "music/ravdess_song")
SPEECH = ("speech/ravdess", "speech/emodb", "speech/ased", "speech/urdu", "speech/tava", "speech/callcentre")
SOUNDS = {".mp3", ".flac", ".ogg"}
TURN_S = 60  # in mixed files music and speech take turns of about a minute
BLOCK = 1 << 16


def data() -> Path:
    """The folder of the corpora.

    Raises:
        FileNotFoundError: there is none at MOODSTREAM_DATA, or at ../shared/data beside the repository.
    """
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MOODSTREAM_DATA") or default)
    if not folder.is_dir():
        raise FileNotFoundError(f"the benchmark needs the corpora: set MOODSTREAM_DATA (tried {folder})")
    return folder


def cache() -> Path:
    """Where the joined files are kept between runs."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moodstream" / "bench-1"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def recordings(corpora: tuple[str, ...]) -> list[Path]:
    """Every recording of some corpora, in an order that is shuffled once and for all."""
    root = data()
    found = [p for c in corpora for p in sorted((root / c).rglob("*")) if p.suffix in SOUNDS]
    random.Random(0).shuffle(found)
    return found


def decode(path: Path, rate_hz: int) -> Float:
    """A whole recording, mono, [n]."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate_hz)
        frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32)


def _endless(paths: list[Path], rate_hz: int) -> Iterator[Float]:
    for again in itertools.count():
        for path in paths:
            yield decode(path, round(rate_hz * (1 + 0.03 * again)))


def joined(pools: list[list[Path]], rate_hz: int, seconds: float) -> Iterator[Float]:
    """`seconds` of sound, the pools taking turns."""
    streams = [_endless(pool, rate_hz) for pool in pools]
    left = round(seconds * rate_hz)
    for stream in itertools.cycle(streams):
        turn = TURN_S * rate_hz if len(pools) > 1 else left
        while turn > 0 and left > 0:
            sound = next(stream)[:left]
            turn -= len(sound)
            left -= len(sound)
            yield sound
        if left <= 0:
            return


def _widen(sound: Float) -> Float:
    """Stereo from mono, [2, n]: the right side comes 9 ms later and softer, mixed with the left."""
    late = np.concatenate([np.zeros(400, np.float32), sound])[: len(sound)]
    return np.stack([sound, 0.5 * sound + 0.4 * late])


def write_mp3(path: Path, sound: Iterator[Float], rate_hz: int, kbit_s: int, *, stereo: bool) -> Path:
    """Encode an mp3 unless it is there already."""
    if path.exists():
        return path
    unfinished = path.with_suffix(f".{os.getpid()}.mp3")
    layout = "stereo" if stereo else "mono"
    with av.open(str(unfinished), "w") as out:
        stream = out.add_stream("libmp3lame", rate=rate_hz, options={"compression_level": "9"})
        stream.layout, stream.bit_rate, stream.format = layout, kbit_s * 1000, "fltp"
        for part in sound:
            channels = _widen(part) if stereo else part[None]
            for start in range(0, channels.shape[1], BLOCK):
                block = np.ascontiguousarray(channels[:, start : start + BLOCK])
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
                frame.rate = rate_hz
                out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    unfinished.rename(path)
    return path


def music_mp3(seconds: int, part: int = 0) -> Path:
    """Real music as people keep it: 44.1 kHz stereo, 192 kb/s."""
    pool = recordings(("music/4qaed", "music/emotify"))
    pool = pool[97 * part % len(pool) :] + pool[: 97 * part % len(pool)]
    path = cache() / f"music-{seconds}s-{part}.mp3"
    return write_mp3(path, joined([pool], 44_100, seconds), 44_100, 192, stereo=True)


def mixed_mp3(seconds: int) -> Path:
    """Music and speech in turns, mono 22.05 kHz at 48 kb/s: long files that need little disk."""
    pools = [recordings(MUSIC), recordings(SPEECH)]
    return write_mp3(
        cache() / f"mixed-{seconds}s.mp3", joined(pools, 22_050, seconds), 22_050, 48, stereo=False
    )


def clips(count: int, seconds: float = 3.0) -> list[Path]:
    """Short wav clips at 16 kHz from speech and music, each from another recording while there are enough."""
    folder = cache() / f"clips-{seconds}s"
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{i:05}.wav" for i in range(count)]
    missing = [path for path in paths if not path.exists()]
    if missing:
        pools = zip(recordings(SPEECH), itertools.cycle(recordings(MUSIC)), strict=False)
        sources = itertools.cycle(itertools.chain.from_iterable(pools))
        for path in paths:
            source = next(sources)
            if path in missing:
                sound = decode(source, 16_000)
                _write_wav(path, np.resize(sound, round(seconds * 16_000)))
    return paths


def _write_wav(path: Path, sound: Float) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=16_000)
        stream.layout = "mono"
        pcm = (np.clip(sound, -1, 1) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
        frame.rate = 16_000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def midi(seconds: int, part: int = 0) -> Path:
    """EMOPIA's piano clips one after the other, at least `seconds` long."""
    path = cache() / f"emopia-{seconds}s-{part}.mid"
    if path.exists():
        return path
    sources = sorted((data() / "music" / "emopia" / "midi").glob("*.mid"))
    random.Random(part).shuffle(sources)
    joined_notes = mido.MidiFile(ticks_per_beat=480)
    track = mido.MidiTrack()
    joined_notes.tracks.append(track)
    track.append(mido.MetaMessage("set_tempo", tempo=500_000))
    total = 0.0
    for source in sources:
        if total >= seconds:
            break
        for message in mido.MidiFile(str(source), clip=True):  # one track, times in seconds
            total += message.time
            if message.type in ("note_on", "note_off", "control_change"):
                track.append(message.copy(time=round(mido.second2tick(message.time, 480, 500_000))))
            elif message.time:
                track.append(
                    mido.MetaMessage("text", time=round(mido.second2tick(message.time, 480, 500_000)))
                )
    joined_notes.save(str(path))
    return path
