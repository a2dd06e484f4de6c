"""NumPy's `.npz` archives from anywhere: opened without pickles, once their sizes are known."""

from __future__ import annotations

import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.lib.npyio import NpzFile

from porter.runtime import memory
from porter.system.input_files import require_file

BROKEN = (
    *(ValueError, OSError, EOFError, KeyError, RuntimeError, MemoryError, TypeError, SyntaxError),
    *(AttributeError, OverflowError, IndexError, RecursionError, zipfile.BadZipFile, zlib.error),
    tokenize.TokenError,  # of a header as Python 2 wrote it
)
"""What NumPy and zipfile raise for a damaged, encrypted or pickled archive."""


@contextmanager
def open_archive(path: str | os.PathLike[str]) -> Iterator[NpzFile]:
    """An archive, each of whose arrays is unpacked when it is asked for.

    Raises one of BROKEN, UsageError for what is no file, UnsafeFile or OutOfMemory where the arrays
    would be larger than the file or free memory allow.
    """
    require_file(path)
    with open(path, "rb") as file:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, NpzFile):
            raise ValueError("it holds one array and no names")
        with archive:
            members = archive.zip.infolist() if archive.zip else []
            unpacked: int = sum(member.file_size for member in members)
            memory.require_unpacked(unpacked, os.path.getsize(path), os.fspath(path))
            yield archive
