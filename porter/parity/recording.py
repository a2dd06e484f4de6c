"""Reference activations: what Torch computed from an input, module by module.

One format in two encodings, `torch7-activations` version 1: a `.t7` table as `porter record`'s
script writes it, and an `.npz` with the keys `input`, `output` and `<path>` or `<path>#<call>`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from porter import torch7
from porter.errors import BadField, BadTable, T7Error, WrongFile
from porter.ir.fields import Array, integers_of
from porter.ir.nested import Nested, leaves
from porter.runtime.archive import BROKEN, open_archive
from porter.torch7 import Table, Tensor
from porter.torch7.recorder import is_recording

MAX_TENSORS = 100_000
"""Tensors and tables of one activation: a few shared tables can stand for millions."""


@dataclass(frozen=True)
class Summary:
    """What a recording keeps of an activation that was too large to store."""

    shape: tuple[int, ...]
    absmax: float
    mean: float
    abssum: float

    @staticmethod
    def of(array: Array) -> Summary:
        """The summary that a recording would keep of an activation."""
        magnitude = np.abs(array.astype(np.float64))
        mean = float(array.mean(dtype=np.float64))
        return Summary(array.shape, float(magnitude.max()), mean, float(magnitude.sum()))

    @property
    def numbers(self) -> Array:
        """What is compared: the largest magnitude, the mean, and the mean magnitude."""
        return np.array([self.absmax, self.mean, self.abssum / max(math.prod(self.shape), 1)])


@dataclass(frozen=True)
class Recording:
    """`outputs[path, call]` is what the call of that module returned, in Torch's order."""

    source: str
    input: Nested[Array] | None
    output: Nested[Array] | None
    outputs: Mapping[tuple[str, int], Nested[Array]] = field(default_factory=dict)
    summaries: Mapping[tuple[str, int], Nested[Summary]] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    mode: str | None = None
    """`evaluate` or `training`, as the record script noted; None if unknown."""
    select: str | None = None
    """The module that the record script was told to select, if it was told."""


def as_arrays(value: Any, what: str) -> Nested[Array]:
    """A tensor or a Lua table of tensors (lists, or string keys) as NumPy arrays.

    Raises BadField for anything else, BadTable for tables that never end.
    """
    room = iter(range(MAX_TENSORS))

    def arrays(value: Any, what: str) -> Nested[Array]:
        if next(room, None) is None:
            raise BadTable(f"{what}: more than {MAX_TENSORS:,} tensors, or a table inside itself")
        if isinstance(value, Tensor):
            return value.array
        if isinstance(value, Table):
            named = {key: item for key, item in value.items.items() if isinstance(key, str)}
            if named:
                return {key: arrays(item, f"{what}.{key}") for key, item in named.items()}
            return [arrays(item, f"{what}[{i}]") for i, item in enumerate(value.list(), start=1)]
        if isinstance(value, bool | int | float):
            return np.asarray([value], np.float64)
        raise BadField(
            f"{what} should be a tensor or a table of tensors", received=torch7.describe(value)
        )

    try:
        return arrays(value, what)
    except RecursionError:
        raise BadTable(f"{what} is a table inside itself") from None


def numbers(array: Array, what: str) -> Array:
    """The array, checked to be numeric. Raises BadField."""
    if array.dtype.kind not in "fiub":
        raise BadField(f"{what} should be a tensor of numbers", received=str(array.dtype))
    return array


def with_elements(recorded_input: Nested[Array]) -> Nested[Array]:
    """An input, checked not to be empty. Raises BadField."""
    for array in leaves(recorded_input):
        if not array.size:
            shown = "×".join(map(str, array.shape))
            raise BadField("the recorded input should have elements", received=shown)
    return recorded_input


def from_t7(root: Table, source: str) -> Recording:
    """The recording in the root table of a `.t7` file."""
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
        path, call = record["path"], torch7.as_integer(record.get("call", 1.0))
        if call is None:
            raise BadTable(f"record {position} of {source} numbers its call by no integer")
        types[path] = str(record.get("type", ""))
        summary = record.get("summary")
        if record.get("output") is not None:
            outputs[path, call] = as_arrays(record["output"], f"record {position}")
        elif isinstance(summary, Table):
            summaries[path, call] = _summary(summary)
    recorded_input, recorded_output = root.get("input"), root.get("output")
    return Recording(
        source,
        None if recorded_input is None else with_elements(as_arrays(recorded_input, "input")),
        None if recorded_output is None else as_arrays(recorded_output, "output"),
        outputs,
        summaries,
        types,
        mode_of(root),
        selected if isinstance(selected := root.get("select"), str) else None,
    )


def mode_of(root: Table) -> str | None:
    """The mode in which a recording was made, if it says so."""
    mode = root.get("mode")
    return mode if mode in ("evaluate", "training") else None


def _summary(table: Table) -> Nested[Summary]:
    """A summary, or a list of them where the module returned a table."""
    shape = table.get("shape")
    if shape is None and 1 in table:
        return [_summary(entry) for entry in table.list() if isinstance(entry, Table)]
    if isinstance(shape, Table):
        sizes = shape.list()
    elif isinstance(shape, Tensor | torch7.Storage):
        sizes = np.asarray(shape.array).ravel().tolist()
    else:
        raise BadTable("a summary in the recording has no shape")
    kept = [table.get(name, np.nan) for name in ("absmax", "mean", "abssum")]
    if not all(isinstance(number, float) for number in kept):
        raise BadTable("a summary in the recording should hold numbers")
    return Summary(integers_of(sizes, "the shape of a summary"), *kept)


def from_npz(path: str | os.PathLike[str]) -> Recording:
    """The recording in an `.npz`; files with pickled objects are refused."""
    name = os.fspath(path)
    outputs: dict[tuple[str, int], Nested[Array]] = {}
    recorded_input: Nested[Array] | None = None
    recorded_output: Array | None = None
    try:
        with open_archive(name) as archive:
            for key in archive.files:
                array = numbers(archive[key], f"'{key}' of {name}")
                if key == "input":
                    recorded_input = with_elements(array)
                elif key == "output":
                    recorded_output = array
                else:
                    module, _, call = key.partition("#")
                    outputs[module, int(call or 1)] = array
    except FileNotFoundError as error:
        raise T7Error("There is no such file.", where=name) from error
    except BROKEN as error:
        raise T7Error(f"The recording cannot be read: {error}", where=name) from error
    return Recording(name, recorded_input, recorded_output, outputs)


def read(path: str | os.PathLike[str]) -> Recording:
    """A recording, `.npz` or `.t7`, or a `.t7` that holds only tensors (an output)."""
    if Path(path).suffix == ".npz":
        return from_npz(path)
    file = torch7.read(path)
    if is_recording(file.root):
        return from_t7(file.root, os.fspath(path))
    if isinstance(file.root, Tensor | Table):
        return Recording(os.fspath(path), None, as_arrays(file.root, "output"))
    raise WrongFile(
        f"{path} holds no recorded activations",
        received=torch7.describe(file.root),
        hint="`porter record` prints a script that makes them under Torch7",
    )
