"""Pages of a mapped file: read when they are asked for, and let go again."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np


def release(array: Any) -> None:
    """Let go of the pages behind an array that lies in a mapped file.

    The array stays what it is: the system reads the pages again where somebody asks. Arrays that
    lie elsewhere are left alone.
    """
    owner = array
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    mapped = owner.obj if isinstance(owner, memoryview) else owner
    if not isinstance(mapped, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED"):
        return
    begin = address(array) - address(np.frombuffer(mapped, np.uint8))
    first = begin // mmap.PAGESIZE * mmap.PAGESIZE
    if array.flags.c_contiguous and array.nbytes:
        mapped.madvise(mmap.MADV_DONTNEED, first, begin + array.nbytes - first)


def address(array: Any) -> int:
    """Of an array's first element."""
    found: int = array.__array_interface__["data"][0]
    return found
