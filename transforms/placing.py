"""Placing: parts of sound of one media on one axis of time.

The first part that is heard begins at position 0. Another one begins as much later as its first packet's
`pts_ms` says: silence fills what is before it, as a file's `offset_ms` does in batch. What one has before
position 0 is left out.

Conventions: `pts_ms` of all parts of a media come from one clock.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from moodstream.transforms.elements import Clip
from moodstream.transforms.errors import PacketError

MAX_LATE_MS = 3_600_000  # a part that begins later than that is not of this media


class Placing:
    """Where the parts of one media begin.

    Example:
        >>> placing = Placing()
        >>> placing.place("agent", 1_000), placing.place("customer", 1_750)
        (None, None)
        >>> placing.take_late_ms("agent"), placing.take_late_ms("customer"), placing.take_late_ms("customer")
        (0, 750, 0)
    """

    def __init__(self) -> None:
        self._origin_ms: int | None = None
        self._late_ms: dict[str, int] = {}  # by part
        self._due_ms: dict[str, int] = {}  # silence that is not filled in yet; below 0: sound to leave out

    def place(self, part: str, pts_ms: int) -> None:
        """The first packet of a part whose turn it is; later ones change nothing.

        Raises:
            PacketError: it begins too late.
        """
        if part in self._late_ms:
            return
        origin_ms = pts_ms if self._origin_ms is None else self._origin_ms
        if abs(pts_ms - origin_ms) > MAX_LATE_MS:
            raise PacketError("part", f"it begins {pts_ms - origin_ms} ms after the others")
        self._origin_ms = origin_ms
        self._late_ms[part] = self._due_ms[part] = pts_ms - origin_ms

    def late_ms(self, part: str) -> int:
        """How much silence a part begins with."""
        return max(0, self._late_ms.get(part, 0))

    def take_late_ms(self, part: str) -> int:
        """How much silence must be filled in now; once."""
        due_ms = self._due_ms.get(part, 0)
        if due_ms > 0:
            self._due_ms[part] = 0
        return max(0, due_ms)

    def trim(self, part: str, clip: Clip) -> Clip:
        """A clip without what is before position 0."""
        due_ms = self._due_ms.get(part, 0)
        if due_ms >= 0:
            return clip
        n = clip.samples.shape[1]
        out = min(n, -due_ms * clip.rate_hz // 1000)
        self._due_ms[part] = 0 if out < n else due_ms + n * 1000 // clip.rate_hz
        return replace(clip, samples=clip.samples[:, out:])

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as plain Python."""
        return {"origin_ms": self._origin_ms, "late_ms": dict(self._late_ms), "due_ms": dict(self._due_ms)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`."""
        self._origin_ms = state["origin_ms"]
        self._late_ms, self._due_ms = dict(state["late_ms"]), dict(state["due_ms"])
