"""Bytes of files and archive entries, decompressed within stated limits."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from typing import IO, Final, cast

__all__ = [
    "MAX_ENTRIES",
    "MAX_ENTRY_BYTES",
    "MAX_RATIO",
    "MAX_TEXT_BYTES",
    "MAX_TOTAL_BYTES",
    "DamagedError",
    "Limited",
    "check_ratio",
    "decompressed",
    "text_of",
]

MIB: Final = 2**20
MAX_TEXT_BYTES: Final = 64 * MIB
"""Largest text, or line of a table, that is held in memory."""
MAX_ENTRY_BYTES: Final = 8192 * MIB
"""Largest decompressed entry of an archive."""
MAX_TOTAL_BYTES: Final = 65536 * MIB
"""Largest sum of the decompressed entries of an archive."""
MAX_RATIO: Final = 200
"""Largest ratio of decompressed to compressed bytes, where more than 4 MiB come out."""
MAX_ENTRIES: Final = 2_000_000
"""Most entries of an archive."""
_FREE_BYTES: Final = 4 * MIB


class DamagedError(ValueError):
    """Bytes that cannot be taken for a file: damaged, or beyond a limit.

    Parameters
    ----------
    reason, detail
        As of a failure.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def check_ratio(decompressed: int, compressed: int) -> None:
    """Refuse what only a bomb does.

    Raises
    ------
    DamagedError
        More than :data:`MAX_RATIO` bytes out of one, where they are many.
    """
    if decompressed > _FREE_BYTES and decompressed > MAX_RATIO * max(compressed, 1):
        raise DamagedError(
            "decompression limit",
            f"{decompressed} bytes come out of {compressed}, at most {MAX_RATIO} to one are "
            "accepted: decompress it yourself, where it is meant to be so",
        )


class Limited(io.RawIOBase):
    """A stream that ends in an error beyond a number of bytes, or beyond a ratio.

    Parameters
    ----------
    stream
        Decompressed bytes.
    limit
        Most bytes.
    what
        What is limited, for the message.
    compressed
        The stream that they come out of, for the ratio.
    promised
        Number of bytes that there should be: less are an error too.
    """

    def __init__(
        self,
        stream: IO[bytes],
        limit: int,
        what: str,
        compressed: IO[bytes] | None = None,
        promised: int = 0,
    ) -> None:
        super().__init__()
        self._promised = promised
        self._stream, self._limit, self._what = stream, limit, what
        self._read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
        self._compressed = compressed
        self._count = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Whether the stream below can be searched."""
        return self._stream.seekable()

    def tell(self) -> int:
        """Position in the decompressed bytes."""
        return self._stream.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a position; what is passed over is not counted, and counting begins anew at 0."""
        place = self._stream.seek(offset, whence)
        if place == 0:
            self._count = 0
        return place

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Some bytes, counted."""
        # What is there, and no more: before the place where a file is cut all of it is good.
        data = self._read(min(len(buffer), MIB))
        self._count += len(data)
        if self._count > self._limit:
            raise DamagedError(
                "decompression limit",
                f"{self._what} is larger than {self._limit} bytes, the most that is accepted",
            )
        if not data and self._count < self._promised:
            raise DamagedError(
                "cut off",
                f"{self._what} has {self._count} bytes, and {self._promised} were promised: get "
                "the archive again",
            )
        if self._compressed is not None:
            check_ratio(self._count, self._compressed.tell())
        buffer[: len(data)] = data
        return len(data)


def decompressed(stream: IO[bytes], name: str) -> IO[bytes]:
    """The stream itself, or what comes out of it where its name ends in ``.gz``."""
    if not name.lower().endswith((".gz", ".tgz")):
        return stream
    inner = Limited(cast("IO[bytes]", gzip.GzipFile(fileobj=stream)), MAX_TOTAL_BYTES, name, stream)
    return io.BufferedReader(inner, MIB)


def text_of(stream: IO[bytes]) -> str:
    """The whole text of a stream, UTF-8 or, where it is not, Latin-1.

    Raises
    ------
    DamagedError
        Binary bytes, or more than :data:`MAX_TEXT_BYTES`.
    """
    data = stream.read(MAX_TEXT_BYTES + 1)
    if len(data) > MAX_TEXT_BYTES:
        raise DamagedError(
            "text too large", f"more than {MAX_TEXT_BYTES} bytes: cut it into several files"
        )
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    if b"\0" in data:
        raise DamagedError("not a text", "binary bytes in it: give the format that the file has")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")
