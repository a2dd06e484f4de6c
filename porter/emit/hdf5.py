"""HDF5 files as weights need them: every number in the file itself, and no more than it can hold.

HDF5 lets a file refer to others (external storage, virtual datasets, links) and declare arrays that
were never written. The first would read files that nobody named; the second makes 7 GB of 3 kB.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

from porter.errors import UnsafeFile
from porter.runtime import memory

BROKEN = (OSError, RuntimeError, KeyError, ValueError, TypeError, SystemError, MemoryError)
"""What h5py raises for damaged files."""


def require_self_contained(file: Any, where: str, stored: int) -> None:
    """Look at every link and dataset of an open `h5py.File` of `stored` bytes, reading none.

    Raises UnsafeFile, OutOfMemory where the arrays are larger than free memory, or one of BROKEN.
    """
    import h5py

    declared, waiting, visited = 0, [file], set()
    require_plain_attributes(file, where)
    while waiting:
        group = waiting.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in visited:
            continue
        visited.add(address)
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise UnsafeFile("the file refers to other objects", where=where, received=name)
            item = group[name]
            require_plain_attributes(item, where)
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                if item.external or item.is_virtual:
                    raise UnsafeFile("its numbers are in other files", where=where, received=name)
                require_plain(item.dtype, where, name)
                declared += int(item.size or 0) * item.dtype.itemsize
    memory.require_unpacked(declared, stored, where)


def require_plain_attributes(item: Any, where: str) -> None:
    """Raise UnsafeFile for an attribute of another type than `require_plain` lets pass."""
    for name in item.attrs:
        require_plain(item.attrs.get_id(name).dtype, where, name)


def require_plain(dtype: Any, where: str, name: str) -> None:
    """Raise UnsafeFile for anything but numbers and strings.

    HDF5 itself crashes where it reads an array of a type that is damaged.
    """
    import h5py

    if dtype.kind not in "biufS" and h5py.check_string_dtype(dtype) is None:
        raise UnsafeFile(
            "it holds what is neither numbers nor strings",
            where=where,
            received=f"{name} of type {dtype}",
        )


HEAP = b"GCOL\x01\0\0\0"
"""How a global heap begins, which holds strings of variable length: signature and version."""
HEAP_HEADER = OBJECT_HEADER = 16
"""Bytes in front of a heap, and of each object in it."""


def require_finite_heaps(file: Path | bytes) -> None:
    """Raise ValueError for a heap of strings in which HDF5's own library would read for ever.

    An object of no size, which only free space could be, leads the library back to itself.
    Source: HDF5 File Format Specification, "Global Heap"; src/H5HGcache.c.
    """
    if isinstance(file, bytes):
        walk_heaps(file)
        return
    with (
        file.open("rb") as opened,
        mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        walk_heaps(mapped)


def walk_heaps(data: bytes | mmap.mmap) -> None:
    """Go through every heap as the library does. Raises ValueError where it would not end."""
    steps = len(data) // OBJECT_HEADER
    heap = data.find(HEAP)
    while heap >= 0 and heap + HEAP_HEADER <= len(data):
        (size,) = struct.unpack_from("<Q", data, heap + 8)
        at, end = heap + HEAP_HEADER, min(heap + size, len(data))
        while at + OBJECT_HEADER <= end:
            index, length = struct.unpack_from("<H6xQ", data, at)
            at += length if index == 0 else OBJECT_HEADER + -(-length // 8) * 8
            steps -= 1
            if steps < 0 or (index == 0 and length == 0):
                raise ValueError("a heap of strings never ends")
        heap = data.find(HEAP, heap + len(HEAP))


def text_attribute(file: Any, name: str, limit: int) -> str:
    """A string of the root group, of at most `limit` bytes. Raises KeyError, ValueError."""
    identifier = file.attrs.get_id(name)
    if identifier.shape != () or identifier.get_storage_size() > limit:
        raise ValueError(f"the attribute {name} is not one string")
    value = file.attrs[name]
    text = value.decode("utf-8") if isinstance(value, bytes) else value
    if not isinstance(text, str) or len(text) > limit:
        raise ValueError(f"the attribute {name} is not one string")
    return text
