"""Every kind of bad input, and inputs that only look bad; see `make_bad` and `make_odd`."""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import mido
import numpy as np

from tests.support.media_files import encode, film_without_sound, sound, write_wav


@dataclass(frozen=True)
class Fate:
    """What must become of a bad input."""

    stage: str
    error: str
    analysed: bool = False  # whether what decodes is analysed all the same


BAD = {
    "empty.mp3": Fate("read", "empty"),
    "truncated.mp3": Fate("decode", "truncated", analysed=True),
    "random.mp3": Fate("decode", "not_media"),
    "text.wav": Fate("decode", "not_media"),
    "no_notes.mid": Fate("notes", "no_notes"),
    "no_sound.mp4": Fate("decode", "no_audio"),
    "nan.wav": Fate("decode", "non_finite"),
    "some_nan.wav": Fate("decode", "non_finite", analysed=True),
    "bomb.flac": Fate("decode", "too_long", analysed=True),
    "broken_link.mp3": Fate("read", "missing"),
    "unreadable.wav": Fate("read", "unreadable"),
}
BOMB_HOURS = 30.0

ODD_NAMES = (
    "new\nline.wav",
    "emoji 🎵 é.wav",
    'quo\'te "s".wav',
    "-dash.wav",
    "[brackets]*?.wav",
    "dots...wav",
)
ODD = ("rate_11025.wav", "rate_192000.wav", "six_channels.wav", "late.mp4", *ODD_NAMES)
LATE_S = 2.0


def make_bad(folder: Path, *names: str) -> dict[str, Fate]:
    """Write the bad inputs (or those named) into a folder; gives what must become of each."""
    wanted = {name: BAD[name] for name in names or BAD}
    for name in wanted:
        _make_bad(folder / name)
    return wanted


def make_odd(folder: Path, seconds: float = 3) -> tuple[str, ...]:
    """Write inputs that look odd and must be analysed like any other."""
    write_wav(folder / "rate_11025.wav", sound(seconds, 11_025, 1), 11_025)
    write_wav(folder / "rate_192000.wav", sound(seconds, 192_000, 2), 192_000)
    write_wav(folder / "six_channels.wav", sound(seconds, 48_000, 6), 48_000)
    encode(folder / "late.mp4", sound(seconds, 44_100, 2), 44_100, pictures_s=seconds + LATE_S, late_s=LATE_S)
    for seed, name in enumerate(ODD_NAMES):
        write_wav(folder / name, sound(seconds, 16_000, 1, seed), 16_000)
    return ODD


def _make_bad(path: Path) -> None:
    match path.name:
        case "empty.mp3":
            path.touch()
        case "truncated.mp3":
            encode(path, sound(6, 44_100, 2), 44_100)
            path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])
        case "random.mp3":
            path.write_bytes(np.random.default_rng(0).bytes(50_000))
        case "text.wav":
            path.write_text("This is a text that somebody called .wav.\n" * 100)
        case "no_notes.mid":
            file = mido.MidiFile()
            file.tracks.append(mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500_000)]))
            file.save(path)
        case "no_sound.mp4":
            film_without_sound(path)
        case "nan.wav":
            write_float_wav(path, np.full(48_000, np.nan, np.float32), 16_000)
        case "some_nan.wav":
            samples = sound(3, 16_000, 1)[0]
            samples[16_000:16_010] = np.nan
            write_float_wav(path, samples, 16_000)
        case "bomb.flac":
            write_bomb(path, BOMB_HOURS)
        case "broken_link.mp3":
            path.symlink_to(path.with_name("nothing here"))
        case "unreadable.wav":
            write_wav(path, sound(1, 16_000, 1), 16_000)
            path.chmod(0)
            if os.access(path, os.R_OK):  # root may read everything, but not this
                path.unlink()
                path.symlink_to("/proc/self/mem")
        case name:
            raise ValueError(f"no bad input is called {name}")


def write_float_wav(path: Path, samples: np.ndarray, rate_hz: int) -> None:
    """A mono WAV of 32-bit floats, whatever they are."""
    data = samples.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, rate_hz, rate_hz * 4, 4, 32)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


def write_bomb(path: Path, hours: float, rate_hz: int = 8_000) -> None:
    """A FLAC file of digital silence, 14 bytes for 8 seconds: hours in some 200 kB."""
    block = 65_535
    frames = int(hours * 3600 * rate_hz / block)
    info = struct.pack(">HH", block, block) + bytes(6)
    info += (rate_hz << 44 | 15 << 36 | frames * block).to_bytes(8, "big") + bytes(16)
    out = [b"fLaC\x80\x00\x00\x22", info]
    for number in range(frames):
        head = b"\xff\xf8\x74\x08" + _utf8(number) + struct.pack(">H", block - 1)
        frame = head + bytes([_crc(head, 8, 0x07)]) + b"\x00\x00\x00"
        out.append(frame + struct.pack(">H", _crc(frame, 16, 0x8005)))
    path.write_bytes(b"".join(out))


def _utf8(number: int) -> bytes:
    return chr(number).encode("utf-8", "surrogatepass")


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    crc, top, mask = 0, 1 << (bits - 1), (1 << bits) - 1
    for byte in data:
        crc ^= byte << (bits - 8)
        for _ in range(8):
            crc = (crc << 1 ^ polynomial) & mask if crc & top else crc << 1 & mask
    return crc
