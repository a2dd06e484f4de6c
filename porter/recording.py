"""Reference activations: what Torch made of an input, module by module.

Two spellings of one format, `torch7-activations` version 1: a `.t7` table as `porter record`'s
script writes it, and an `.npz` with the keys `input`, `output` and `<path>` or `<path>#<call>`.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile

from porter import reader
from porter.errors import BadField, BadTable, T7Error, WrongFile
from porter.fields import Array
from porter.nested import Nested
from porter.reader import Table, Tensor

FORMAT = "torch7-activations"

BROKEN = (ValueError, OSError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What NumPy and zipfile raise for a damaged, encrypted or pickled archive."""


@dataclass(frozen=True)
class Summary:
    """What a recording keeps of an activation that was too large to store."""

    shape: tuple[int, ...]
    absmax: float
    mean: float
    abssum: float


@dataclass(frozen=True)
class Recording:
    """`outputs[path, call]` is what the call of that module returned, in Torch's order."""

    source: str
    input: Nested[Array] | None
    output: Nested[Array] | None
    outputs: Mapping[tuple[str, int], Nested[Array]] = field(default_factory=dict)
    summaries: Mapping[tuple[str, int], Nested[Summary]] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)


def as_arrays(value: Any, what: str) -> Nested[Array]:
    """A tensor or a Lua table of tensors (lists, or string keys) as NumPy arrays."""
    if isinstance(value, Tensor):
        return value.array.reshape(value.shape) if value.shape else value.array.reshape(0)
    if isinstance(value, Table):
        if any(isinstance(key, str) for key in value.keys()):
            return {
                key: as_arrays(value[key], f"{what}.{key}")
                for key in list(value.keys())
                if isinstance(key, str)
            }
        return [as_arrays(item, f"{what}[{i}]") for i, item in enumerate(value.list(), start=1)]
    if isinstance(value, bool | int | float):
        return np.asarray([value], np.float64)
    raise BadField(f"{what} should be a tensor or a table of tensors", received=str(value))


def is_recording(root: Any) -> bool:
    """Whether what a `.t7` file holds is a recording."""
    return isinstance(root, Table) and root.get("format") == FORMAT


def from_t7(root: Table, source: str) -> Recording:
    """A recording out of the table that a `.t7` file holds."""
    if root.get("version") != 1:
        raise T7Error(
            f"{source} is a recording of another version",
            received=str(root.get("version")),
            hint="record again with the script that `porter record` prints",
        )
    outputs: dict[tuple[str, int], Nested[Array]] = {}
    summaries: dict[tuple[str, int], Nested[Summary]] = {}
    types: dict[str, str] = {}
    records = root.get("records")
    for position, record in enumerate(records.list() if isinstance(records, Table) else [], 1):
        if not isinstance(record, Table) or not isinstance(record.get("path"), str):
            raise BadTable(f"record {position} of {source} names no path")
        path, call = record["path"], int(record.get("call", 1) or 1)
        types[path] = str(record.get("type", ""))
        summary = record.get("summary")
        if record.get("output") is not None:
            outputs[path, call] = as_arrays(record["output"], f"record {position}")
        elif isinstance(summary, Table):
            summaries[path, call] = _summary(summary)
    given, made = root.get("input"), root.get("output")
    return Recording(
        source,
        None if given is None else as_arrays(given, "input"),
        None if made is None else as_arrays(made, "output"),
        outputs,
        summaries,
        types,
    )


def _summary(table: Table) -> Nested[Summary]:
    """A summary, or a list of them where the module returned a table."""
    shape = table.get("shape")
    if shape is None and 1 in table:
        return [_summary(entry) for entry in table.list() if isinstance(entry, Table)]
    if isinstance(shape, Table):
        sizes = shape.list()
    elif isinstance(shape, Tensor | reader.Storage):
        sizes = np.asarray(shape.array).ravel().tolist()
    else:
        raise BadTable("a summary in the recording has no shape")
    return Summary(
        tuple(int(size) for size in sizes),
        float(table.get("absmax", np.nan)),
        float(table.get("mean", np.nan)),
        float(table.get("abssum", np.nan)),
    )


def from_npz(path: str | os.PathLike[str]) -> Recording:
    """A recording out of an `.npz`; files with pickled objects are refused."""
    name = os.fspath(path)
    outputs: dict[tuple[str, int], Nested[Array]] = {}
    given: Array | None = None
    made: Array | None = None
    try:
        with open(name, "rb") as file, zipped(np.load(file, allow_pickle=False)) as archive:
            for key in archive.files:
                if key == "input":
                    given = archive[key]
                elif key == "output":
                    made = archive[key]
                else:
                    module, _, call = key.partition("#")
                    outputs[module, int(call or 1)] = archive[key]
    except FileNotFoundError as error:
        raise T7Error("There is no such file.", where=name) from error
    except BROKEN as error:
        raise T7Error(f"The recording cannot be read: {error}", where=name) from error
    return Recording(name, given, made, outputs)


def zipped(loaded: Any) -> NpzFile:
    """What NumPy loaded, if it is an archive and no single array."""
    if not isinstance(loaded, NpzFile):
        raise ValueError("it holds one array and no names")
    return loaded


def read(path: str | os.PathLike[str]) -> Recording:
    """A recording file, `.npz` or `.t7`; or a `.t7` with nothing but tensors (an output)."""
    if Path(path).suffix == ".npz":
        return from_npz(path)
    file = reader.read(path)
    if is_recording(file.root):
        return from_t7(file.root, os.fspath(path))
    if isinstance(file.root, Tensor | Table):
        return Recording(os.fspath(path), None, as_arrays(file.root, "output"))
    raise WrongFile(
        f"{path} holds no recorded activations",
        received=reader.describe(file.root),
        hint="`porter record` prints a script that makes them under Torch7",
    )
