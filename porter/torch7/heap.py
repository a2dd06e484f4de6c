"""What stands before an object in the file: its index, and its class.

`index` numbers tables, objects and functions in the order of writing; when it comes again, the
object of that index is meant, which is how sharing and cycles are kept (torch7 `File.lua`).
"""

from __future__ import annotations

import re
from typing import Any

from porter.errors import Corrupt, printable
from porter.torch7.cursor import Cursor
from porter.torch7.objects import describe

MAX_CLASS_NAME = 1_000

_VERSION = re.compile(r"V ([0-9]{1,9})")
_UNFINISHED = object()


class Heap:
    """The objects of a file by index, as far as they were read, and the cursor behind them."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self._objects: dict[int, tuple[int, Any]] = {}

    def __contains__(self, index: int) -> bool:
        return index in self._objects

    def define(self, kind: int, index: int, value: Any = _UNFINISHED) -> None:
        """Files `value` of type `kind`; without a value the index is only reserved."""
        self._objects[index] = (kind, value)

    def reference(self, kind: int, index: int, start: int) -> Any:
        """The known object `index`, which the reference at byte `start` says has type `kind`."""
        stored_kind, stored = self._objects[index]
        if stored_kind != kind or stored is _UNFINISHED:
            what = "an unfinished tensor" if stored is _UNFINISHED else describe(stored)
            raise Corrupt(
                f"A reference to object {index} does not fit that object.",
                received=f"a reference of type {kind} to {what}",
                offset=start,
            )
        return stored

    def read_index(self) -> int:
        """The index of the object that follows."""
        index = self.cursor.integer("the index of an object")
        if index < 1:
            raise Corrupt("Object indices start at 1.", received=f"{index}")
        return index

    def read_class(self) -> tuple[str, int]:
        """Class name and version; files older than class versions have the name alone."""
        name, version = self._class_text(), 0
        if match := _VERSION.fullmatch(name):
            name, version = self._class_text(), int(match[1])
        return name, version

    def _class_text(self) -> str:
        length = self.cursor.integer("the length of a class name")
        start = self.cursor.position
        text = decode(self.cursor.characters(length, "a class name"))
        if not 0 < length <= MAX_CLASS_NAME or not text.isprintable():
            raise Corrupt(
                f"A class name must be printable, of 1 to {MAX_CLASS_NAME:,} bytes.",
                received=f'"{printable(text, 60)}"',
                offset=start,
                hint="The file is damaged, or was changed by a text-mode transfer.",
            )
        return text


def decode(raw: bytes) -> str:
    """A Lua string, which is bytes, as text from which the bytes can be had back."""
    return raw.decode("utf-8", "surrogateescape")
