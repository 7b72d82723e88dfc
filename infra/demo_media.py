"""Make the media in demo/: everything in it is composed, spoken and drawn by this file.

    python infra/demo_media.py [FOLDER]

Needs the Debian packages fluidsynth, fluid-soundfont-gm and espeak-ng; whoever uses demo/ does not.
"""

import random
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
import numpy as np
import numpy.typing as npt
import pretty_midi
import soxr

Float = npt.NDArray[np.float32]

FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
RATE_HZ = 44_100
CALL_HZ = 8_000
MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)


# ---------------------------------------------------------------- music


@dataclass(frozen=True)
class Line:
    """One instrument's notes: (beat, beats, pitch, velocity) each."""

    program: int  # General MIDI from zero; -1 for drums
    notes: Sequence[tuple[float, float, int, int]]


def happy() -> tuple[float, list[Line]]:
    """C major, 132 bpm: I V vi IV in bouncing chords, a dancing tune above, light drums."""
    rng = random.Random(1)
    chords, tune, bass, drums = [], [], [], []
    for bar in range(22):
        root = (0, 4, 5, 3)[bar % 4]
        for beat in range(4):
            at = 4.0 * bar + beat
            triad = [60 + _degree(MAJOR, root + step) for step in (0, 2, 4)]
            chords += [(at + 0.5, 0.3, pitch, 72) for pitch in triad]
            bass.append((at, 0.45, 36 + _degree(MAJOR, root + (0, 4)[beat % 2]), 88))
            drums += [(at, 0.1, 36 if beat % 2 == 0 else 38, 84), (at, 0.1, 42, 60), (at + 0.5, 0.1, 42, 50)]
        if bar >= 2:
            at = 4.0 * bar
            for length in rng.choice(((1, 0.5, 0.5, 1, 1), (0.5, 0.5, 1, 0.5, 0.5, 1), (1.5, 0.5, 1, 1))):
                step = root + rng.choice((0, 2, 4, 7, 9)) + (1 if bar % 8 > 5 else 0)
                tune.append((at, length * 0.8, 72 + _degree(MAJOR, step), 96))
                at += length
    end = [(88.0, 3.0, pitch, 90) for pitch in (48, 60, 64, 67, 72)]
    return 132, [Line(0, chords + end), Line(13, tune), Line(32, bass), Line(-1, drums)]


def sad() -> tuple[float, list[Line]]:
    """D minor, 54 bpm: sinking broken chords on the piano, a cello that sighs over them."""
    rng = random.Random(2)
    piano, cello = [], []
    for bar in range(9):
        root = (0, 5, 3, 4)[bar % 4]
        fade = 58 - 2 * bar
        for eighth in range(8):
            step = root + (0, 4, 7, 9, 11, 9, 7, 4)[eighth]
            piano.append((4.0 * bar + eighth / 2, 1.4, 38 + _degree(MINOR, step), fade + rng.randrange(6)))
        if bar >= 1:
            for at, length, step in ((0.0, 2.8, 9), (3.0, 1.0, 8)) if bar % 2 else ((0.0, 3.8, 7),):
                cello.append((4.0 * bar + at, length, 50 + _degree(MINOR, root + step - 4), 62))
    end = [(36.0, 4.0, pitch, 40) for pitch in (38, 45, 53, 57)]
    return 54, [Line(0, piano + end), Line(42, cello)]


def tense() -> tuple[float, list[Line]]:
    """No key, 150 bpm: a chromatic ostinato that climbs, clusters of strings, drums that close in."""
    rng = random.Random(3)
    low, strings, brass, drums = [], [], [], []
    for bar in range(24):
        force = 60 + 2 * bar
        for eighth in range(8):
            pitch = 36 + bar // 4 + (0, 1, 0, 6, 0, 1, 7, 6)[eighth]
            low.append((4.0 * bar + eighth / 2, 0.4, pitch, force))
        for cluster in (0, 1, 6, 7):
            strings.append((4.0 * bar, 3.9, 62 + bar // 2 + cluster, force - 12))
        if bar % 4 == 3:
            brass += [
                (4.0 * bar + at, 0.5, 55 + bar // 3 + step, min(127, force + 20))
                for at in (2, 3)
                for step in (0, 6)
            ]
        for eighth in range(8):
            if bar >= 6 and (eighth in (0, 3, 6) or rng.random() < bar / 40):
                drums.append((4.0 * bar + eighth / 2, 0.1, rng.choice((41, 43, 36)), min(127, force)))
    end = [(96.0, 2.0, pitch, 120) for pitch in (24, 36, 37, 42, 60, 61, 66, 67)]
    return 150, [Line(48, low), Line(44, strings), Line(61, brass + end), Line(-1, drums)]


def _degree(scale: Sequence[int], step: int) -> int:
    return 12 * (step // 7) + scale[step % 7]


def write_midi(path: Path, tempo_bpm: float, lines: Iterable[Line]) -> None:
    """Write lines of notes as a MIDI file."""
    midi = pretty_midi.PrettyMIDI(initial_tempo=tempo_bpm)
    beat_s = 60 / tempo_bpm
    for line in lines:
        instrument = pretty_midi.Instrument(max(line.program, 0), is_drum=line.program < 0)
        for beat, beats, pitch, velocity in line.notes:
            note = pretty_midi.Note(velocity, pitch, beat * beat_s, (beat + beats) * beat_s)
            instrument.notes.append(note)
        midi.instruments.append(instrument)
    midi.write(str(path))


def render(midi: Path) -> Float:
    """A MIDI file as sound, [2, n] at 44.1 kHz."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.wav")
        command = ["fluidsynth", "-ni", "-g", "0.6", "-r", str(RATE_HZ), "-F", str(out), str(FONT), str(midi)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        samples = _read_wav(out)[0]
    loud = np.flatnonzero(np.abs(samples).max(axis=0) > 1e-3)
    samples = samples[:, : loud[-1] + RATE_HZ // 2]
    return samples * np.float32(0.8 / np.abs(samples).max())


# ---------------------------------------------------------------- speech


@dataclass(frozen=True)
class Saying:
    """What is said, and how."""

    text: str
    voice: str = "en-gb"
    pitch: int = 50
    words_per_minute: int = 165
    loudness: int = 100
    side: int = 0  # of a call: 0 agent, 1 customer


READING = (
    Saying(
        "Good morning. This is a short reading, made by a machine, in a calm and even voice.",
        pitch=42,
        words_per_minute=150,
    ),
    Saying(
        "And then the letter came! We won! Can you believe it? We really won!",
        pitch=85,
        words_per_minute=210,
        loudness=160,
    ),
    Saying(
        "But nobody was there to tell. The house was empty. It had been empty for a long time.",
        pitch=22,
        words_per_minute=110,
        loudness=60,
    ),
)
CALL = (
    Saying("Thank you for calling. My name is Anna. How can I help you?", "en-us+f3", 55, 170),
    Saying("Hello. My parcel has not arrived, and it was promised for Monday.", "en-gb+m3", 40, 160, side=1),
    Saying("I am sorry to hear that. May I have the number of your order, please?", "en-us+f3", 55, 165),
    Saying(
        "I gave that number to your colleague. Twice! And nobody called me back!",
        "en-gb+m3",
        60,
        200,
        150,
        side=1,
    ),
    Saying("I understand. Let me look into it right now.", "en-us+f3", 52, 160),
    Saying(
        "This is the third time I am calling! I am really angry about this! I want my money back!",
        "en-gb+m3",
        72,
        220,
        180,
        side=1,
    ),
    Saying(
        "I have found it. It will be with you tomorrow morning, and we refund the postage.",
        "en-us+f3",
        55,
        165,
    ),
    Saying("Oh. Well, thank you. That is good news, actually.", "en-gb+m3", 42, 155, side=1),
)
FILM = (
    Saying(
        "Welcome. What you see here was drawn by a program, and what you hear was spoken by another.",
        pitch=45,
    ),
    Saying(
        "In a moment there will be music instead of words. Watch how the curve changes.",
        pitch=55,
        words_per_minute=175,
    ),
)


def speak(saying: Saying, rate_hz: int) -> Float:
    """One saying as sound, [n] at the rate asked for."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.wav")
        how = ["-v", saying.voice, "-p", saying.pitch, "-s", saying.words_per_minute, "-a", saying.loudness]
        subprocess.run(["espeak-ng", *map(str, how), "-w", str(out), saying.text], check=True)
        samples, its_rate_hz = _read_wav(out)
    return np.asarray(soxr.resample(samples[0], its_rate_hz, rate_hz), np.float32)


def talk(sayings: Iterable[Saying], rate_hz: int, pause_s: float = 0.6) -> Float:
    """Sayings one after the other, [1, n]."""
    pause = np.zeros(round(pause_s * rate_hz), np.float32)
    said = np.concatenate([part for saying in sayings for part in (speak(saying, rate_hz), pause)])
    return said[None] * np.float32(0.7)


def call(sayings: Iterable[Saying], rate_hz: int) -> Float:
    """A call, [2, n]: the agent on the first channel, the customer on the second, a quiet line on both."""
    rng = np.random.default_rng(4)
    sides = []
    for saying in sayings:
        samples = np.zeros((2, round(0.5 * rate_hz)), np.float32)
        samples = np.concatenate(
            [samples, np.zeros((2, len(said := speak(saying, rate_hz))), np.float32)], axis=1
        )
        samples[saying.side, -len(said) :] = said
        sides.append(samples)
    samples = np.concatenate(sides, axis=1)
    return samples * np.float32(0.7) + rng.normal(0, 3e-4, samples.shape).astype(np.float32)


def _read_wav(path: Path) -> tuple[Float, int]:
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return (samples.T / np.float32(32_768)).astype(np.float32), file.getframerate()


# ---------------------------------------------------------------- files


def write_sound(path: Path, samples: Float, rate_hz: int, codec: str, bit_rate: int = 0) -> None:
    """Encode [channels, n]."""
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as out:
        out.metadata.update(
            {"title": path.stem.replace("_", " "), "artist": "moodstream", "license": "CC0-1.0"}
        )
        stream = _add_sound(out, samples, rate_hz, codec, bit_rate)
        for frame in _sound_frames(stream, samples, rate_hz):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def write_film(path: Path, speech: Float, music: Float) -> None:
    """A film: a drawn talking face while somebody talks, rings that beat while there is music."""
    speech = np.repeat(speech, 2, axis=0)
    samples = np.concatenate([speech, music], axis=1)
    with av.open(str(path), "w", options={"movflags": "faststart", "fflags": "+bitexact"}) as out:
        film = out.add_stream("libx264", rate=15, options={"crf": "30", "preset": "slow"})
        film.width, film.height, film.pix_fmt = 320, 180, "yuv420p"
        stream = _add_sound(out, samples, RATE_HZ, "aac", 80_000)
        pictures = _pictures(samples, speech.shape[1])
        for frame in pictures:
            out.mux(film.encode(frame))
        out.mux(film.encode(None))
        for sound in _sound_frames(stream, samples, RATE_HZ):
            out.mux(stream.encode(sound))
        out.mux(stream.encode(None))


def _pictures(samples: Float, speech_samples: int) -> Iterator[av.VideoFrame]:
    y, x = np.mgrid[0:180, 0:320]
    step = RATE_HZ // 15
    for number in range(samples.shape[1] // step):
        level = float(np.sqrt(np.mean(samples[:, number * step : (number + 1) * step] ** 2)))
        image = np.zeros((180, 320, 3), np.uint8)
        if number * step < speech_samples:
            image[:] = (40, 60, 90)
            image[(x - 160) ** 2 / 3600 + (y - 90) ** 2 / 5600 < 1] = (230, 190, 160)
            for eye in (138, 182):
                image[(x - eye) ** 2 + (y - 72) ** 2 < 36] = (30, 30, 40)
            image[(x - 160) ** 2 / 500 + (y - 122) ** 2 / (4 + 2500 * level) < 1] = (150, 40, 50)
        else:
            rings = np.sin(np.hypot(x - 160, y - 90) / 7 - number / 2) > 0.9 - 2 * level
            image[:] = (20, 15, 30)
            image[rings] = (250, 180, 40)
        frame = av.VideoFrame.from_ndarray(image, "rgb24")
        frame.pts = number
        yield frame


def _add_sound(
    out: av.container.OutputContainer, samples: Float, rate_hz: int, codec: str, bit_rate: int
) -> av.AudioStream:
    layout = "stereo" if len(samples) == 2 else "mono"
    stream = cast(av.AudioStream, out.add_stream(codec, rate=rate_hz, layout=layout))
    if bit_rate:
        stream.bit_rate = bit_rate
    formats = [sample_format.name for sample_format in stream.codec.audio_formats or []]
    stream.codec_context.format = "s16" if codec == "flac" else formats[0]
    return stream


def _sound_frames(stream: av.AudioStream, samples: Float, rate_hz: int) -> Iterator[av.AudioFrame]:
    layout = "stereo" if len(samples) == 2 else "mono"
    convert = av.AudioResampler(stream.codec_context.format.name, layout, rate_hz)
    size = stream.codec_context.frame_size or 4096
    for start in range(0, samples.shape[1], size):
        block = np.ascontiguousarray(samples[:, start : start + size])
        frame = av.AudioFrame.from_ndarray(block, "fltp", layout)
        frame.sample_rate = rate_hz
        for converted in convert.resample(frame):
            converted.pts = start
            yield converted


def main(folder: Path) -> None:
    """Write everything."""
    for name in ("songs", "speech", "calls", "video"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    songs = {"bright_morning": happy, "empty_house": sad, "closing_in": tense}
    sounds = {}
    for name, compose in songs.items():
        midi = folder / "songs" / f"{name}.mid"
        write_midi(midi, *compose())
        sounds[name] = render(midi)
    write_sound(folder / "songs/bright_morning.mp3", sounds["bright_morning"], RATE_HZ, "libmp3lame", 96_000)
    for name in ("empty_house", "closing_in"):
        opus = np.asarray(soxr.resample(sounds[name].T, RATE_HZ, 48_000).T, np.float32)
        write_sound(folder / f"songs/{name}.ogg", opus, 48_000, "libopus", 64_000)
    write_sound(folder / "speech/reading.ogg", talk(READING, 48_000), 48_000, "libopus", 32_000)
    write_sound(folder / "calls/parcel.flac", call(CALL, CALL_HZ), CALL_HZ, "flac")
    music = sounds["bright_morning"][:, : 18 * RATE_HZ].copy()
    music[:, -RATE_HZ:] *= np.linspace(1, 0, RATE_HZ, dtype=np.float32)
    write_film(folder / "video/words_then_music.mp4", talk(FILM, RATE_HZ), music)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
