"""MIDI to sound by fluidsynth, where it is installed: true pairs of notes and audio, for training only.

Conventions: samples are mono float32 at 16 kHz in [-1, 1]; the soundfont is the file that
MOODSTREAM_SOUNDFONT names, else the first of `SOUNDFONTS` that is there (Debian's package
fluid-soundfont-gm installs one).
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np

from moodstream.models.base import RATE_HZ, Float

SOUNDFONTS = (Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"), Path("/usr/share/sounds/sf2/default-GM.sf2"))


def soundfont() -> Path:
    """The soundfont to render with.

    Raises:
        FileNotFoundError: none is installed.
    """
    named = os.environ.get("MOODSTREAM_SOUNDFONT")
    for path in (Path(named),) if named else SOUNDFONTS:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"no soundfont at {named or SOUNDFONTS[0]}: install fluid-soundfont-gm or set MOODSTREAM_SOUNDFONT"
    )


def render(midi: str | os.PathLike[str], longest_s: float = 600.0) -> Float:
    """The sound [n] of a MIDI file, played by fluidsynth with its own reverb, cut at `longest_s`.

    Raises:
        FileNotFoundError: fluidsynth, a soundfont or the file is missing.
        ValueError: fluidsynth cannot play the file.
    """
    program = shutil.which("fluidsynth")
    if program is None:
        raise FileNotFoundError("fluidsynth is not installed: it renders MIDI for training")
    if not Path(midi).is_file():
        raise FileNotFoundError(f"no MIDI file at {os.fspath(midi)}")
    few = "synth.dynamic-sample-loading=1"  # read what is played of the soundfont, not all of it
    command = [program, "-ni", "-q", "-g", "1.0", "-o", few, "-r", str(RATE_HZ)]
    command += ["-O", "s16", "-T", "raw", "-F", "-"]
    played = subprocess.run([*command, str(soundfont()), os.fspath(midi)], capture_output=True, check=False)
    if played.returncode or not played.stdout:
        raise ValueError(
            f"{os.fspath(midi)} cannot be rendered: {played.stderr.decode(errors='replace')[-300:]}"
        )
    stereo = np.frombuffer(played.stdout[: len(played.stdout) // 4 * 4], "<i2").reshape(-1, 2)
    mono = stereo[: int(longest_s * RATE_HZ)].astype(np.float32).mean(1) / 32768
    return (mono * 32767).astype(np.int16).astype(np.float32) / 32767  # as a file of 16 bits would hold it
