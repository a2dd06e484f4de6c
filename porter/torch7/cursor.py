"""A bounded reading position in a file: the primitives of torch7 `lib/TH/THDiskFile.c`.

Two encodings of the same primitives:

    primitive    BinaryCursor (little-endian)      AsciiCursor
    int          4 bytes                           decimal text
    long         8 bytes (4 in old 32-bit files)   decimal text
    double       8 bytes                           "%.17g", inf, nan
    characters   raw bytes                         raw bytes
    numbers      raw array                         decimal text; Byte and Char: raw bytes

In ASCII every non-empty run of values is followed by one newline (THDiskFile.c, `isAutoSpacing`),
which matters before raw bytes: they may begin with a newline of their own.

Nothing is allocated before the file is known to hold the bytes for it.
"""

from __future__ import annotations

import re
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from porter.errors import Corrupt, T7Error, Truncated, printable
from porter.torch7.types import Array

INCOMPLETE = "The file is incomplete or damaged: fetch it again and compare its size."


class Cursor(ABC):
    """`position` in `data`; every method moves it, or raises Truncated or Corrupt.

    `what` names the thing that is read, for the error message.
    """

    smallest_object: int  # bytes of the shortest object, a nil

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.end = len(data)
        self.position = 0

    @property
    def remaining(self) -> int:
        """Bytes from the position to the end of the file."""
        return self.end - self.position

    @abstractmethod
    def integer(self, what: str) -> int:
        """A 32-bit integer."""

    @abstractmethod
    def longs(self, count: int, what: str) -> tuple[int, ...]:
        """`count` 64-bit integers (32-bit in files with 4-byte longs); `count` must be small."""

    def long(self, what: str) -> int:
        """One of them."""
        return self.longs(1, what)[0]

    @abstractmethod
    def double(self, what: str) -> float:
        """A Lua number."""

    @abstractmethod
    def numbers(self, dtype: np.dtype[Any], count: int, what: str) -> Array:
        """`count` elements of a storage as a read-only array of shape (count,)."""

    def characters(self, count: int, what: str) -> bytes:
        """`count` raw bytes."""
        start = self.skip(count, what)
        return self.data[start : start + count].tobytes()

    def skip(self, count: int, what: str) -> int:
        """Passes over `count` raw bytes and returns where they start."""
        start = self.position
        if not 0 <= count <= self.end - start:
            self.require(count, count, what)
        self.position = start + count
        return start

    def require(self, count: int, size: int, what: str) -> None:
        """Raises unless `count` is sane and the `size` bytes it needs are in the file."""
        if count < 0:
            raise Corrupt(
                f"The length of {what} is negative.", received=f"{count:,}", offset=self.position
            )
        if size > self.remaining:
            raise Truncated(
                f"The file ends inside {what}.",
                received=f"{self.remaining:,} bytes from here to the end, {size:,} are needed",
                offset=self.position,
                hint=INCOMPLETE,
            )


class BinaryCursor(Cursor):
    """Little-endian binary, with longs of 8 or 4 bytes.

    A file does not say which. `proves_width` becomes true when a positive 4-byte long is followed
    by a word that is not zero: read as 8 bytes, it would be a size beyond 4 billion.
    """

    smallest_object = 4

    def __init__(self, data: memoryview, long_size: int) -> None:
        super().__init__(data)
        self.long_size = long_size
        self.proves_width = long_size == 8
        self._unpack_int = struct.Struct("<i").unpack_from
        self._unpack_double = struct.Struct("<d").unpack_from

    def integer(self, what: str) -> int:
        position = self.position
        if self.end - position < 4:
            self.require(4, 4, what)
        self.position = position + 4
        value: int = self._unpack_int(self.data, position)[0]
        return value

    def longs(self, count: int, what: str) -> tuple[int, ...]:
        start = self.skip(count * self.long_size, what)
        if self.long_size == 8:
            return struct.unpack_from(f"<{count}q", self.data, start)
        values = struct.unpack_from(f"<{count}i", self.data, start)
        following = bytes(self.data[start + 4 : self.position + 4])
        for i, value in enumerate(values):
            if value > 0 and any(following[4 * i : 4 * i + 4]):
                self.proves_width = True
        return values

    def double(self, what: str) -> float:
        value: float = self._unpack_double(self.data, self.skip(8, what))[0]
        return value

    def numbers(self, dtype: np.dtype[Any], count: int, what: str) -> Array:
        narrow = dtype == np.int64 and self.long_size == 4
        stored = np.dtype("<i4") if narrow else dtype.newbyteorder("<")
        size = count * stored.itemsize
        self.require(count, size, what)
        start = self.skip(size, what)
        array = np.frombuffer(self.data[start : start + size], stored)
        return read_only(array.astype(np.int64) if narrow else array)


class AsciiCursor(Cursor):
    """Text, as `torch.save(file, object, 'ascii')` writes it."""

    smallest_object = 2

    # A number counts only with the blank after it: without one its last digits may be missing.
    # Torch writes "%.17g"; the bound on digits keeps matching and conversion linear.
    _INTEGER = re.compile(rb"\s*([+-]?[0-9]{1,20})(?=\s)")
    _NUMBER = re.compile(
        rb"\s*([+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?(?:e[+-]?[0-9]{1,6})?|inf|nan))(?=\s)",
        re.IGNORECASE,
    )
    _LAST_WORD = re.compile(rb"\s*\S{0,40}\Z")

    def _word(self, pattern: re.Pattern[bytes], what: str) -> bytes:
        match = pattern.match(self.data, self.position)
        if match is None:
            raise self._no_number(what)
        self.position = match.end()
        return match[1]

    def _no_number(self, what: str) -> T7Error:
        if self._LAST_WORD.match(self.data, self.position):
            return Truncated(
                f"The file ends where {what} is expected.", offset=self.position, hint=INCOMPLETE
            )
        word = bytes(self.data[self.position : self.position + 40]).split()[:1]
        return Corrupt(
            f"A number is expected for {what}.",
            received=f'"{printable(b"".join(word).decode("latin-1"))}"',
            offset=self.position,
            hint="If the file was transferred in text mode, fetch it again in binary mode.",
        )

    def _end_run(self) -> None:
        """Swallows the newline that ends a run of values."""
        if self.remaining and self.data[self.position] == ord("\n"):
            self.position += 1

    def _integer(self, bits: int, what: str) -> int:
        value = int(self._word(self._INTEGER, what))
        if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
            raise Corrupt(
                f"The number for {what} does not fit {bits} bits.",
                received=f"{value}",
                offset=self.position,
            )
        return value

    def integer(self, what: str) -> int:
        value = self._integer(32, what)
        self._end_run()
        return value

    def longs(self, count: int, what: str) -> tuple[int, ...]:
        values = tuple(self._integer(64, what) for _ in range(count))
        if count:
            self._end_run()
        return values

    def double(self, what: str) -> float:
        value = float(self._word(self._NUMBER, what))
        self._end_run()
        return value

    def skip(self, count: int, what: str) -> int:
        start = super().skip(count, what)
        if count:
            self._end_run()
        return start

    def numbers(self, dtype: np.dtype[Any], count: int, what: str) -> Array:
        if dtype.itemsize == 1:  # Byte and Char storages are raw bytes even here
            start = self.skip(count, what)
            return read_only(np.frombuffer(self.data[start : start + count], dtype))
        self.require(count, 2 * count, what)  # a digit and a blank each
        start = self.position
        try:
            # Values beyond float32 or float16 become infinite, as they do in C.
            with np.errstate(over="ignore"):
                array = np.fromiter(self._words(dtype, count, what), dtype, count)
        except OverflowError as error:
            raise Corrupt(
                f"A number in {what} does not fit {dtype}.", received=str(error), offset=start
            ) from error
        if count:
            self._end_run()
        return read_only(array)

    def _words(self, dtype: np.dtype[Any], count: int, what: str) -> Iterator[float]:
        if dtype.kind == "i":
            least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
            for _ in range(count):
                number = int(self._word(self._INTEGER, what))
                if not least <= number <= most:  # NumPy 1 would take some of its bits.
                    raise OverflowError(str(number))
                yield number
        else:
            yield from (float(self._word(self._NUMBER, what)) for _ in range(count))


def read_only(array: Array) -> Array:
    """`array`, no longer writeable: it shows the user's file."""
    array.flags.writeable = False
    return array
