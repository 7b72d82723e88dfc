"""InHand: the record that is being worked off, where it outlives this process.

Some input kills: a decoder that crashes, memory that runs out, a bug of ours. Nothing of that can be caught,
and after a restart the same record comes again. So a small file says which record is in hand; who starts and
finds one there knows what its predecessor died of. A record that was in hand at two deaths, and not worked
off in between, is not taken a third time: it becomes a dead letter.

The networks hear many records at once, so who dies there knows only which ones these were. The next start
works these off one by one (`careful`), and from then on it is known whose fault it is: what kills in the
networks costs one death more.

The file is shared memory, so taking a record costs a microsecond and the file is right whatever kills the
process. It is on this machine only: on another one, a record has two more tries.

Conventions: one file a partition, since one process at a time works it off.
"""

import logging
import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path

DEATHS = 2  # that a record may cost
_MOST = 64  # records remembered
_HEAD = struct.Struct("<8sBQQ")  # magic, what is in hand, the record's offset and stamp
_NOTHING, _RECORD, _BATCH = range(3)
_CAREFUL = struct.Struct("<Q")  # at the end of the file
_DEATH = struct.Struct("<QQI")
_MAGIC = b"inhand 1"
_SIZE = 4_096
_log = logging.getLogger(__name__)


def default_folder() -> Path:
    """Where the files are unless somebody says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "moodstream", "live")


class InHand:
    """What is in hand of one partition.

    Args:
        folder: where the file is; none for no protection.
        name: of the partition.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> for _ in range(3):
        ...     hand = InHand(folder, "packets-0")
        ...     print(hand.is_poison(7, 1_700_000_000_000))
        ...     hand.take(7, 1_700_000_000_000)  # and here the process dies
        False
        False
        True
    """

    def __init__(self, folder: str, name: str) -> None:
        self._deaths: dict[tuple[int, int], int] = {}
        self.careful = 0  # records before this one are to be worked off one by one
        self._map: mmap.mmap | None = None
        if not folder:
            return
        path = Path(folder, f"{name}.hand")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            place = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.ftruncate(place, _SIZE)
                self._map = mmap.mmap(place, _SIZE)
            finally:
                os.close(place)
        except OSError as error:
            _log.warning(
                "%s cannot be written (%s): records that kill are not known after a restart", path, error
            )
            return
        self._read(self._map)

    @property
    def is_wary(self) -> bool:
        """Whether the process before died over a record that is not worked off yet, or over several.

        Until that is done nothing else may go on beside it: a second death must be its own.
        """
        return self.careful > 0 or any(deaths < DEATHS for deaths in self._deaths.values())

    def is_poison(self, offset: int, time_ms: int) -> bool:
        """Whether a record has killed too often."""
        return self._deaths.get((offset, time_ms), 0) >= DEATHS

    def take(self, offset: int, time_ms: int) -> None:
        """A record is worked off from now on."""
        if self._map is not None:
            _HEAD.pack_into(self._map, 0, _MAGIC, _RECORD, offset, time_ms)

    def take_all(self, position: int) -> None:
        """The networks hear from now on what came of records before this one."""
        if self._map is not None:
            _HEAD.pack_into(self._map, 0, _MAGIC, _BATCH, position, 0)

    def done_all(self, position: int) -> None:
        """They have heard it, and this process lives."""
        if self._map is not None:
            _HEAD.pack_into(self._map, 0, _MAGIC, _NOTHING, 0, 0)
            if 0 < self.careful <= position:
                self.careful = 0
                _CAREFUL.pack_into(self._map, _SIZE - _CAREFUL.size, 0)
            self._acquit(lambda offset, _: offset < position)

    def done(self, offset: int, time_ms: int) -> None:
        """It is worked off, and this process lives."""
        if self._map is None:
            return
        _HEAD.pack_into(self._map, 0, _MAGIC, _NOTHING, 0, 0)
        self._acquit(lambda *place: place == (offset, time_ms))

    def _acquit(self, is_meant: Callable[[int, int], bool]) -> None:
        """It was somebody else who killed."""
        if self._map is None or not self._deaths:
            return
        known = len(self._deaths)
        self._deaths = {
            place: deaths
            for place, deaths in self._deaths.items()
            if deaths >= DEATHS or not is_meant(*place)
        }
        if len(self._deaths) < known:
            self._write(self._map)

    def _read(self, kept: mmap.mmap) -> None:
        magic, in_hand, offset, time_ms = _HEAD.unpack_from(kept)
        if magic == _MAGIC:
            at = _HEAD.size
            for _ in range(_MOST):
                *place, deaths = _DEATH.unpack_from(kept, at)
                at += _DEATH.size
                if deaths:
                    self._deaths[place[0], place[1]] = deaths
            (self.careful,) = _CAREFUL.unpack_from(kept, _SIZE - _CAREFUL.size)
            if in_hand == _BATCH:
                self.careful = max(self.careful, offset)
                _CAREFUL.pack_into(kept, _SIZE - _CAREFUL.size, self.careful)
                _log.warning("records before %d were in hand together when the process died", offset)
            if in_hand == _RECORD:
                deaths = self._deaths.pop((offset, time_ms), 0) + 1
                self._deaths[offset, time_ms] = deaths
                _log.warning("record %d was in hand when the process died (%d)", offset, deaths)
        self._write(kept)

    def _write(self, kept: mmap.mmap) -> None:
        """What is remembered, the oldest forgotten, and nothing in hand."""
        self._deaths = dict(list(self._deaths.items())[-_MOST:])
        rows = [(*place, deaths) for place, deaths in self._deaths.items()]
        rows += [(0, 0, 0)] * (_MOST - len(rows))
        body = b"".join(_DEATH.pack(*row) for row in rows)
        kept[: _HEAD.size + len(body)] = _HEAD.pack(_MAGIC, _NOTHING, 0, 0) + body
