"""Write minimal binary `.t7` files: numbers, strings, booleans, tables, tensors and modules."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from porter.reader import Storage, Table, Tensor, TorchObject
from tests.build import lua


def write_t7(path: Path, root: Any) -> Path:
    """Save `root` as torch.save would; returns the path."""
    path.write_bytes(to_bytes(root))
    return path


def to_bytes(root: Any) -> bytes:
    writer = Writer()
    writer.object(lua(root))
    return bytes(writer.out)


class Writer:
    """Appends objects to `out`; what was written before is referred to by its index."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.written: dict[int, int] = {}

    def object(self, value: Any) -> None:
        match value:
            case None:
                self.pack("<i", 0)
            case bool():
                self.pack("<ii", 5, value)
            case int() | float():
                self.pack("<id", 1, value)
            case str():
                self.pack("<i", 2)
                self.string(value)
            case Table():
                self.pack("<i", 3)
                if self.is_new(value.index):
                    self.entries(value.items)
            case Tensor() | Storage() | TorchObject():
                self.pack("<i", 4)
                if self.is_new(value.index):
                    self.string("V 1")
                    self.string(value.typename)
                    self.body(value)
            case _:
                raise TypeError(f"no way to write {value!r}")

    def body(self, value: Tensor | Storage | TorchObject) -> None:
        if isinstance(value, Storage):
            self.pack("<q", value.size)
            self.out += value.array.tobytes()
        elif isinstance(value, Tensor):
            rank = len(value.shape)
            self.pack(f"<i{2 * rank + 1}q", rank, *value.shape, *value.stride, value.offset + 1)
            self.object(value.storage)
        else:
            # The table of the fields is an object of its own.
            self.pack("<i", 3)
            self.is_new(-value.index)
            self.entries(value.fields)

    def entries(self, items: dict[Any, Any]) -> None:
        self.pack("<i", len(items))
        for key, item in items.items():
            self.object(key)
            self.object(item)

    def is_new(self, index: int) -> bool:
        """Write the index in the file of an object's index; whether the object has to follow."""
        is_new = index not in self.written
        self.pack("<i", self.written.setdefault(index, len(self.written) + 1))
        return is_new

    def string(self, text: str) -> None:
        encoded = text.encode("utf-8", "surrogateescape")
        self.pack("<i", len(encoded))
        self.out += encoded

    def pack(self, form: str, *values: Any) -> None:
        self.out += struct.pack(form, *values)
