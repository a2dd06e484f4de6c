"""One step of training as Torch recorded it: a file of its own kind.

A case is a table `{module=, input=, train_output=, gradOutput=, gradInput=, parameters=}`: what
`module` made of `input` in training mode, and what `module:backward(input, gradOutput)` left.
`parameters` is a list of `{path=, name=, grad=}` for what the optimiser would change, and of
`{path=, name=, after=}` for running statistics after the step.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from porter import torch7
from porter.errors import BadField, UsageError
from porter.ir.fields import Array
from porter.ir.nested import Nested
from porter.parity.recording import as_arrays
from porter.torch7 import Storage, Table, Tensor, TorchObject

NEEDED = ("module", "input", "train_output", "gradOutput", "gradInput", "parameters")
MARKS = {"gradOutput", "train_output"}
"""A table with one of these is meant to be such a case."""


@dataclass(frozen=True)
class RecordedTensor:
    """What Torch recorded of one tensor of a module: its gradient, or its value after the step.

    `tensor` is None where the file has none, because Torch computes it (weight normalisation).
    """

    path: str
    name: str
    tensor: Tensor | None
    array: Array
    is_gradient: bool


@dataclass(frozen=True)
class RecordedStep:
    """A step of training by Torch, in Torch's order. `module` is as it was before the step."""

    module: TorchObject
    input: Nested[Array]
    output: Nested[Array]
    grad_output: Nested[Array]
    grad_input: Nested[Array]
    recorded: tuple[RecordedTensor, ...]

    def standing_in(self) -> dict[Hashable, Array]:
        """What was recorded, by the memory of the tensor; modules that share it add up."""
        found: dict[Hashable, list[Array]] = {}
        for each in self.recorded:
            if each.tensor is not None:
                shaped = each.array.reshape(each.tensor.shape)
                found.setdefault(each.tensor.key, []).append(shaped)
        return {key: accumulated(arrays) for key, arrays in found.items()}


def accumulated(arrays: list[Array]) -> Array:
    """The gradient of shared memory: the modules' gradients may share memory as well, or not."""
    if all(np.array_equal(each, arrays[0]) for each in arrays):
        return arrays[0]
    total: Array = np.sum(arrays, axis=0)
    return total


def read(path: Path) -> RecordedStep:
    """A recorded step. Raises UsageError that says what is missing, BadField for wrong contents."""
    root = torch7.read(path).root
    if not isinstance(root, Table):
        raise UsageError(f"{path} is no case of a gradient", received=torch7.describe(root))
    missing = [name for name in NEEDED if name not in root]
    if missing:
        raise UsageError(
            f"{path} lacks {', '.join(missing)}",
            hint=f"a recorded step of training is a table {{{', '.join(f'{n}=' for n in NEEDED)}}}",
        )
    module = root["module"]
    if not isinstance(module, TorchObject):
        raise BadField(f"module of {path} should be one", received=torch7.describe(module))
    input, output, grad_output, grad_input = (as_arrays(root[name], name) for name in NEEDED[1:5])
    recorded = tuple(recorded_parameters(root["parameters"], module, str(path)))
    return RecordedStep(module, input, output, grad_output, grad_input, recorded)


def recorded_parameters(entries: Any, root: TorchObject, source: str) -> Iterator[RecordedTensor]:
    """The list `parameters`. Raises BadField for an entry that names no tensor of the module."""
    if not isinstance(entries, Table):
        raise BadField(
            f"parameters of {source} should be a list", received=torch7.describe(entries)
        )
    for position, entry in enumerate(entries.list(), start=1):
        where = f"parameters[{position}] of {source}"
        path, name = (entry.get(k) if isinstance(entry, Table) else None for k in ("path", "name"))
        if not isinstance(path, str) or not isinstance(name, str):
            raise BadField(f"{where} should be a table with path and name")
        key = next((key for key in ("grad", "after") if key in entry), None)
        if key is None or not isinstance(entry[key], Tensor):
            raise BadField(f"{where} should hold a tensor `grad` or `after`")
        tensor = at_path(root, path, where).optional_tensor(name)
        # Old files have 2-D weights of convolutions, which Torch views in four dimensions.
        if tensor is not None and tensor.numel != entry[key].numel:
            shown = "×".join(map(str, entry[key].shape))
            raise BadField(f"{where} should have as many elements as {tensor!r}", received=shown)
        yield RecordedTensor(path, name, tensor, entry[key].array, key == "grad")


def at_path(root: TorchObject, path: str, where: str) -> TorchObject:
    """The module at a path of 1-based positions in `modules`. Raises BadField."""
    module = root
    for number in path.split(".") if path else []:
        children = module.get("modules")
        entries = children.items if isinstance(children, Table) else {}
        # Clones that a container makes while it runs share the parameters of its `module`.
        child = entries.get(int(number) if number.isdigit() else number) or module.get("module")
        if not isinstance(child, TorchObject):
            raise BadField(f"{where} names a module that is not there", received=path)
        module = child
    return module


def with_recorded(path: Path) -> TorchObject:
    """The module of a case, read again, with what was recorded in the place of its tensors."""
    step = read(path)
    arrays = step.standing_in()
    tensors: dict[Hashable, Tensor] = {}
    numbers = itertools.count(-1, -1)
    for each in step.recorded:
        if each.tensor is None:
            continue
        key = each.tensor.key
        if key not in tensors:
            tensors[key] = holding(each.tensor, arrays[key], next(numbers))
        at_path(step.module, each.path, str(path)).fields[each.name] = tensors[key]
    return step.module


def holding(tensor: Tensor, array: Array, index: int) -> Tensor:
    """A tensor like another with other numbers, in memory of its own."""
    array = np.ascontiguousarray(array)
    storage = Storage("torch.Storage", array.ravel(), index, 0)
    strides = tuple(step // array.itemsize for step in array.strides)
    return replace(tensor, stride=strides, offset=0, storage=storage, dtype=array.dtype)
