"""Small media for tests, made on the spot: sound that is not trivial, in any container."""

import wave
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]

ENCODERS = {  # by extension: codec, its sample format
    "mp3": ("libmp3lame", "fltp"),
    "wav": ("pcm_s16le", "s16"),
    "flac": ("flac", "s16"),
    "ogg": ("vorbis", "fltp"),
    "opus": ("libopus", "flt"),
    "m4a": ("aac", "fltp"),
    "aac": ("aac", "fltp"),
    "aiff": ("pcm_s16be", "s16"),
    "wma": ("wmav2", "fltp"),
    "amr": ("libopencore_amrnb", "s16"),
    "mp4": ("aac", "fltp"),
    "mov": ("pcm_s16le", "s16"),
    "mkv": ("flac", "s16"),
    "webm": ("libopus", "flt"),
    "ts": ("aac", "fltp"),
    "caf": ("pcm_s16le", "s16"),
    "au": ("pcm_s16be", "s16"),
}
LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


def sound(seconds: float, rate_hz: int = 44_100, channels: int = 2, seed: int = 0) -> Float:
    """[channels, n]: notes that come and go over a little noise, each channel its own; peaks below 0.7."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    out = 0.01 * rng.standard_normal((channels, len(t)))
    for channel in range(channels):
        for _ in range(4):
            pitch, pulse, phase = (
                rng.uniform(110, min(1760, rate_hz / 4)),
                rng.uniform(0.5, 4),
                rng.uniform(0, 6, 2),
            )
            out[channel] += (
                0.15 * np.sin(2 * np.pi * pitch * t + phase[0]) * np.sin(np.pi * pulse * t + phase[1]) ** 2
            )
    return out.astype(np.float32)


def encode(
    path: Path,
    samples: Float,
    rate_hz: int,
    *,
    codec: str = "",
    container: str = "",
    bit_rate: int = 0,
    options: dict[str, str] | None = None,
    pictures_s: float = 0.0,
    late_s: float = 0.0,
    tags: dict[str, str] | None = None,
) -> Path:
    """Write samples [channels, n] as the extension says.

    Args:
        codec: another encoder than the extension's own.
        container: FFmpeg's name of the format, where the extension does not say it.
        bit_rate: bits a second; 0 leaves it to the encoder.
        options: of the container, e.g. `{"movflags": "faststart"}`.
        pictures_s: seconds of pictures beside the sound.
        late_s: how much later than the pictures the sound starts.
        tags: written into the file.
    """
    own, sample_format = ENCODERS[path.suffix[1:]]
    codec = codec or own
    with av.open(str(path), "w", format=container or None, options=options or {}) as out:
        out.metadata.update(tags or {})
        film = _add_pictures(out, path.suffix[1:]) if pictures_s else None
        stream = out.add_stream(
            codec, rate=rate_hz, layout=LAYOUTS[len(samples)], options={"strict": "experimental"}
        )
        if bit_rate or codec == "wmav2":
            stream.bit_rate = bit_rate or 128_000
        wanted = [f.name for f in stream.codec.audio_formats or []]
        sample_format = sample_format if sample_format in wanted or not wanted else wanted[0]
        stream.codec_context.format = sample_format
        if film is not None:
            for number in range(round(pictures_s * 10)):
                image = np.full((48, 64, 3), 20 * (number % 12), np.uint8)
                frame = av.VideoFrame.from_ndarray(image, "rgb24")
                frame.pts = number
                out.mux(film.encode(frame))
            out.mux(film.encode(None))
        convert = av.AudioResampler(sample_format, LAYOUTS[len(samples)], rate_hz)
        size = stream.codec_context.frame_size or 1024
        for start in range(0, samples.shape[1], size):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[:, start : start + size]), "fltp", LAYOUTS[len(samples)]
            )
            frame.sample_rate = rate_hz
            frame.pts = None
            for converted in convert.resample(frame):
                converted.pts = start + round(late_s * rate_hz)
                out.mux(stream.encode(converted))
        out.mux(stream.encode(None))
    return path


def _add_pictures(out: av.container.OutputContainer, extension: str) -> av.VideoStream:
    film = out.add_stream("libvpx" if extension == "webm" else "mpeg4", rate=10)
    film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
    return film


def film_without_sound(path: Path, seconds: float = 2) -> Path:
    with av.open(str(path), "w") as out:
        film = _add_pictures(out, path.suffix[1:])
        for number in range(round(seconds * 10)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * (number % 12), np.uint8), "rgb24")
            frame.pts = number
            out.mux(film.encode(frame))
        out.mux(film.encode(None))
    return path


def write_wav(path: Path, samples: Float, rate_hz: int) -> Path:
    """16-bit WAV without any library's opinion, [channels, n]."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(samples))
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((np.clip(samples.T, -1, 1) * 32767).astype("<i2").tobytes())
    return path
