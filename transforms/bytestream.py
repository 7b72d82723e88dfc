"""Files as FFmpeg reads them: bytes that only come on, or bytes one can seek in.

Both remember what the checks at the end of decoding need: how many bytes were read, the last of them, and the
error of the file below (FFmpeg turns it into one of its own).
"""

from collections import deque
from typing import BinaryIO

TAIL_BYTES = 131_072  # more than two Ogg pages
_MAX_AMPLIFICATION = 64  # a sane index makes us read a file once; a broken one may go in circles


def read_fully(file: BinaryIO, size: int) -> bytes:
    """The next `size` bytes, fewer only where the file ends (a pipe may give less at a time)."""
    parts: list[bytes] = []
    while size > 0 and (data := file.read(size)):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


class ByteStream:
    """Bytes that can only be read on."""

    def __init__(self, file: BinaryIO, head: bytes = b"") -> None:
        """`head` holds the bytes that were already taken from the file."""
        self._file = file
        self._head = head
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self.count = 0
        self.error: OSError | None = None

    def read(self, size: int) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
        else:
            try:
                data = self._file.read(size)
            except OSError as error:
                self.error = error
                raise
        self.count += len(data)
        self._tail.append(data)
        self._tail_bytes += len(data)
        while self._tail_bytes - len(self._tail[0]) >= TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft())
        return data

    def reaches(self, position: int) -> bool:
        """Whether the file has so many bytes; reads on if need be."""
        while self.count < position and self.read(TAIL_BYTES):
            pass
        return self.count >= position

    @property
    def tail(self) -> bytes:
        """The last bytes read, at least `TAIL_BYTES` of them where there were so many."""
        return b"".join(self._tail)


class SeekableBytes(ByteStream):
    """Bytes of a container whose index may lie anywhere."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.size = file.seek(0, 2)
        file.seek(0)

    def read(self, size: int) -> bytes:
        if self.count > _MAX_AMPLIFICATION * (self.size + 1_000_000):
            self.error = OSError("its index leads in circles")
            raise self.error
        return super().read(size)

    def reaches(self, position: int) -> bool:
        return self.size >= position

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
