"""Writes `.t7` files as torch.save does: binary, 8-byte longs.

Source: torch7 File.lua (`writeObject`), generic/Tensor.c and generic/Storage.c.
Numbers, strings, booleans, tables, tensors and objects of Torch classes are written. Lua functions
are left out, as nil: porter never kept their bytecode.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from porter.errors import UsageError
from porter.system.atomic import write_bytes
from porter.torch7 import LuaBoolean, LuaFunction, Storage, Table, Tensor, TorchObject, describe

NIL, NUMBER, STRING, TABLE, TORCH, BOOLEAN = range(6)
"""The types of objects in File.lua."""
OWN_BODIES = (
    "nn.GPU",
    "nn.DataParallelTable",
    "nn.ModelParallelTable",
    "nn.Profile",
    "torch.Timer",
    "torch.Generator",
)
"""Classes whose bytes are no table of fields."""


def write_t7(path: Path, root: Any) -> Path:
    """Save `root`; the file appears whole or not at all. Raises EmitError, UsageError."""
    write_bytes(path, to_bytes(root))
    return path


def to_bytes(root: Any) -> bytes:
    """What torch.save would write. Raises UsageError for classes with a body of their own."""
    writer = T7Writer()
    writer.object(root)
    return bytes(writer.out)


class T7Writer:
    """Appends objects to `out`; what was written before is referred to by its index."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.written: dict[int, int] = {}

    def object(self, value: Any) -> None:
        """One Lua value."""
        match value:
            case None | LuaFunction():
                self.pack("<i", NIL)
            case bool() | LuaBoolean():
                self.pack("<ii", BOOLEAN, bool(getattr(value, "value", value)))
            case int() | float():
                self.pack("<id", NUMBER, value)
            case str():
                self.pack("<i", STRING)
                self.string(value)
            case Table(typename="table"):
                self.pack("<i", TABLE)
                if self.is_new(value.index):
                    self.entries(value.items)
            case Tensor() | Storage() | TorchObject() if value.typename not in OWN_BODIES:
                self.pack("<i", TORCH)
                if self.is_new(value.index):
                    self.string(f"V {value.version if isinstance(value, TorchObject) else 1}")
                    self.string(value.typename)
                    self.body(value)
            case _:
                raise UsageError(f"{describe(value)} cannot be written to a .t7 file")

    def body(self, value: Tensor | Storage | TorchObject) -> None:
        """What stands behind the class name."""
        if isinstance(value, Storage):
            self.pack("<q", value.size)
            self.out += np.ascontiguousarray(value.array).tobytes()
        elif isinstance(value, Tensor):
            rank = len(value.shape)
            self.pack(f"<i{2 * rank + 1}q", rank, *value.shape, *value.stride, value.offset + 1)
            self.object(value.storage)
        else:
            # The table of the fields is an object of its own.
            self.pack("<i", TABLE)
            self.is_new(-value.index)
            self.entries(value.fields)

    def entries(self, items: dict[Any, Any]) -> None:
        """The pairs of a table."""
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
        """Its length and its bytes."""
        encoded = text.encode("utf-8", "surrogateescape")
        self.pack("<i", len(encoded))
        self.out += encoded

    def pack(self, form: str, *values: Any) -> None:
        """Append numbers."""
        self.out += struct.pack(form, *values)
