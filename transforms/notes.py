"""Read a MIDI file into notes (see models.midi for what is read, and how)."""

from pathlib import Path
from typing import BinaryIO

from moodstream.models import midi
from moodstream.models.base import Notes
from moodstream.transforms.errors import NotesError


def read_notes(file: BinaryIO | str | Path) -> Notes:
    """The notes of a Standard MIDI File, sorted by onset, then pitch.

    Args:
        file: a path, or a file opened for reading bytes.

    Raises:
        NotesError: `not_midi` when the bytes are something else; `corrupt` when they break off, contradict
            the format or are beyond all bounds; `no_notes` when nothing sounds.
        OSError: the path cannot be read.
    """
    if isinstance(file, str | Path):
        with Path(file).open("rb") as opened:
            data = opened.read(midi.MAX_BYTES + 1)
    else:
        data = file.read(midi.MAX_BYTES + 1)
    try:
        return midi.parse_midi(data)
    except midi.MidiError as error:
        raise NotesError(error.error, str(error)) from error
