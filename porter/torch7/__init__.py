"""Reads Torch7 `.t7` files: `read(path)` and `read_bytes(data)` give a T7File.

Binary (8- or 4-byte longs) and ASCII files are told apart by their content. Tensors are views of
the memory-mapped file. No code from the file is ever executed.

**Our own reader; torchfile gives its constants.** torchfile 0.1.0 is what everybody reads `.t7`
with. It does not check a single length, loses tables of tensors under NumPy 2 and drifts out of
step at classes with bodies of their own. porter takes the type ids from it and keeps it as a
cross-check in the tests; every length, stride, offset and reference is checked against the file
before use.
"""

from __future__ import annotations

import mmap
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from porter.errors import T7Error, Unsupported, WrongFile
from porter.system.input_files import torch_file_in
from porter.torch7.cursor import AsciiCursor, BinaryCursor
from porter.torch7.objects import TorchObject, as_integer, describe
from porter.torch7.parse import Parser
from porter.torch7.sniff import diagnose, is_ascii, is_big_endian, is_binary, is_waifu2x_json
from porter.torch7.types import LuaBoolean, LuaFunction, Storage, Table, Tensor

__all__ = [
    "LuaBoolean",
    "LuaFunction",
    "Storage",
    "T7File",
    "Table",
    "Tensor",
    "TorchObject",
    "as_integer",
    "describe",
    "diagnose",
    "read",
    "read_bytes",
]

_HEAD = 4_096  # bytes that are enough to tell what a file is
_BLOCK = 8 * 2**20


@dataclass(frozen=True, eq=False)
class T7File:
    """A file that was read: its first object (`root`) and what the file is.

    `size` counts bytes, `trailing` those after the first object (Torch ignores them).
    """

    path: str
    root: Any
    format: Literal["binary", "ascii", "json"]
    long_size: Literal[8, 4] | None
    size: int
    trailing: int
    data: memoryview = field(repr=False)

    def sha256(self) -> str:
        """Hexadecimal digest of the whole file, which is not kept in memory for it."""
        import hashlib  # OpenSSL, which nothing else needs here

        hashed, mapped = hashlib.sha256(), self.data.obj
        for start in range(0, self.size, _BLOCK):
            hashed.update(self.data[start : start + _BLOCK])
            if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED, start, min(_BLOCK, self.size - start))
        return hashed.hexdigest()


def read(path: str | os.PathLike[str]) -> T7File:
    """Reads a file by mapping it. Raises T7Error whatever is wrong with the path or the content."""
    name = os.fspath(path)
    try:
        mode = os.stat(name).st_mode
        if not stat.S_ISREG(mode):  # asked before opening: a pipe would block
            kind = "a directory" if stat.S_ISDIR(mode) else "a device or a pipe"
            inside = torch_file_in(Path(name)) if stat.S_ISDIR(mode) else None
            hint = "Name a regular file." if inside is None else f"Name the file in it: {inside}"
            raise T7Error(f"This is {kind}.", where=name, hint=hint)
        with open(name, "rb") as file:
            empty = os.fstat(file.fileno()).st_size == 0  # which cannot be mapped
            data = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:
        raise T7Error("There is no such file.", where=name, hint="Check the path.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise T7Error(f"The file cannot be opened: {reason}.", where=name) from error
    return read_bytes(data, name)


def read_bytes(data: bytes | memoryview | mmap.mmap, name: str = "<bytes>") -> T7File:
    """Reads a file that is in memory; `name` is for messages. Raises T7Error."""
    view = memoryview(data).toreadonly().cast("B")
    try:
        return _read(view, name)
    except T7Error as error:
        error.where = name
        raise


def _read(view: memoryview, name: str) -> T7File:
    head = bytes(view[:_HEAD])
    if is_waifu2x_json(head):
        from porter.torch7 import waifu2x_json  # which builds upon this package

        return T7File(name, waifu2x_json.read_weights(view), "json", None, len(view), 0, view)
    if found := diagnose(head, len(view)):
        kind, hint = found
        raise WrongFile(f"This is {kind}, not a Torch7 file.", hint=hint)
    if is_big_endian(head):
        raise Unsupported(
            "This is a big-endian Torch7 file, which Torch7 itself cannot load.",
            hint="In Torch, read it with torch.DiskFile(name):binary():bigEndianEncoding()"
            ":readObject(), and torch.save the result.",
        )
    if is_ascii(head):
        return _file(name, view, Parser(AsciiCursor(view)), "ascii", None)
    if not is_binary(head):
        raise WrongFile(
            "This is not a Torch7 file: it does not start with an object type from 0 to 8.",
            received=f"first bytes {head[:8].hex(' ')}",
            hint="Save the model with torch.save in Lua Torch7, or get an undamaged copy.",
            offset=0,
        )
    return _read_binary(name, view)


def _read_binary(name: str, view: memoryview) -> T7File:
    """With 8-byte longs; if that fails, with 4-byte ones, as 32-bit machines wrote them."""
    wide, narrow = BinaryCursor(view, 8), BinaryCursor(view, 4)
    wide_parser, narrow_parser = Parser(wide), Parser(narrow)
    try:
        return _file(name, view, wide_parser, "binary", 8)
    except T7Error as error:
        try:
            file = _file(name, view, narrow_parser, "binary", 4)
        except T7Error as other:
            # Only tensors and storages have longs: whoever read more of them is right.
            if narrow_parser.tensors.completed > wide_parser.tensors.completed:
                raise other from None
            raise error from None
        if not narrow.proves_width:
            raise
        return file


def _file(
    name: str,
    view: memoryview,
    parser: Parser,
    form: Literal["binary", "ascii"],
    long_size: Literal[8, 4] | None,
) -> T7File:
    root = parser.read()
    trailing = parser.cursor.remaining
    return T7File(name, root, form, long_size, len(view), trailing, view)
