"""Files of named arrays: NumPy's `.npz`, `.safetensors` and HDF5.

Each holds the arrays by name and a JSON text, `{"format", "order", "aliases"}`: as the entry
`__metadata__` (npz, h5), and in the header under `porter` (safetensors).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from porter.errors import ParityError, UsageError
from porter.frontend.weights import Weights
from porter.ir.fields import Array
from porter.parity.measure import equal
from porter.system.atomic import appearing_file, require_file_target
from porter.system.extras import optional

METADATA = "__metadata__"
FORMAT = "porter-weights 1"
NEEDS = {"npz": "numpy", "safetensors": "safetensors.numpy", "h5": "h5py"}
"""Kinds of files and the modules that write them."""
Stored = Iterator[tuple[str, Any]]
"""What a file holds, by name; the text is `METADATA`."""


def require(kind: str) -> Any:
    """The module that writes a kind of file. Raises UsageError."""
    if kind not in NEEDS:
        raise UsageError(
            f"weights cannot be written as '{kind}'", hint="kinds: " + ", ".join(NEEDS)
        )
    return optional(NEEDS[kind], NEEDS[kind].partition(".")[0], f"a .{kind} file")


def kind_of(path: Path) -> str:
    """The kind that a file name asks for. Raises UsageError."""
    kind = {".hdf5": "h5"}.get(path.suffix, path.suffix.removeprefix("."))
    if kind not in NEEDS:
        endings = ", ".join(f".{kind}" for kind in NEEDS)
        raise UsageError(f"{path} does not tell what to write", hint=f"known endings: {endings}")
    return kind


def write_arrays(weights: Weights, path: Path, kind: str) -> None:
    """Write, read back and compare, bit by bit. Raises UsageError and ParityError."""
    library = require(kind)
    about = {"format": FORMAT, "order": weights.order, "aliases": weights.aliases}
    text = json.dumps(about, sort_keys=True)
    WRITE[kind](library, path, weights.arrays, text)
    names = set()
    for name, stored in READ[kind](library, path):  # one at a time: they may be large
        names.add(name)
        if name == METADATA:
            is_same = json.loads(str(stored)) == about
        else:
            is_same = name in weights.arrays and same_bits(weights.arrays[name], stored)
        if not is_same:
            raise ParityError(f"{path.name} does not hold what was written as {name}")
    if names != {METADATA, *weights.arrays}:
        raise ParityError(f"{path.name} does not hold the names that were written")


def save(weights: Weights, path: Path, force: bool = False) -> None:
    """Write the kind of file that the name asks for. Raises UsageError and EmitError."""
    kind = kind_of(path)
    require(kind)
    require_file_target(path, force)
    with appearing_file(path) as new:
        write_arrays(weights, new, kind)


def same_bits(first: Array, second: Array) -> bool:
    """Whether shape, dtype and every bit agree, NaN included."""
    if (first.shape, first.dtype) != (second.shape, second.dtype):
        return False
    return equal(*(np.ravel(each).view(f"u{each.dtype.itemsize}") for each in (first, second)))


def write_npz(library: Any, path: Path, arrays: dict[str, Array], text: str) -> None:
    # A file object: np.savez would put .npz behind any other name.
    named: dict[str, Any] = {METADATA: np.array(text), **arrays}
    with open(path, "wb") as file:
        np.savez(file, **named)


def read_npz(library: Any, path: Path) -> Stored:
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            yield name, archive[name]


def write_safetensors(library: Any, path: Path, arrays: dict[str, Array], text: str) -> None:
    dense = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    library.save_file(dense, path, metadata={"porter": text})


def read_safetensors(library: Any, path: Path) -> Stored:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        yield METADATA, file.metadata()["porter"]
        for name in file.keys():
            yield name, file.get_tensor(name)


def write_h5(library: Any, path: Path, arrays: dict[str, Array], text: str) -> None:
    with FileOfHDF5(path, "w+") as disk, library.File(disk, "w") as file:
        file.create_dataset(METADATA, data=text)
        for name, array in arrays.items():
            file.create_dataset(name, data=array)


class FileOfHDF5(io.FileIO):
    """A file that fails when it is closed, with the first error of all writes.

    HDF5 cannot close a file that it could not write: it prints a traceback and keeps it open.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest and self.error is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return self.tell() if size is None else size

    def __exit__(self, *caught: object) -> None:
        self.close()
        if self.error is not None:
            raise self.error


def read_h5(library: Any, path: Path) -> Stored:
    with library.File(path, "r") as file:
        for name in file:
            yield name, file[name].asstr()[()] if name == METADATA else file[name][()]


WRITE: dict[str, Callable[[Any, Path, dict[str, Array], str], None]] = {
    "npz": write_npz,
    "safetensors": write_safetensors,
    "h5": write_h5,
}
READ: dict[str, Callable[[Any, Path], Stored]] = {
    "npz": read_npz,
    "safetensors": read_safetensors,
    "h5": read_h5,
}
