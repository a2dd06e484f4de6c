"""Every tensor of a module tree by Torch path, whether or not the tree can be converted.

A file without modules, a vector of parameters or a dataset, has its tensors collected by the keys
of its tables and objects alone.

Nothing is computed and no layer map is needed: `12.1.2.weight` is the field `weight` of the module
at 12.1.2, in Torch's order of axes and in its own dtype. What Torch only works with is left out:
gradients, outputs, and the scratch tensors that `clearState` empties. Where several fields are one
window on one memory, it stands under the first name and the others are listed as aliases.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from porter.errors import printable
from porter.frontend.module_tree import is_module, parts, submodules
from porter.frontend.selection import entries_of
from porter.frontend.walker import Model
from porter.ir.fields import Array
from porter.ir.registry import Registry, is_layer_map
from porter.torch7 import Table, Tensor, TorchObject

SCRATCH = {
    *("output", "finput", "fgradInput", "addBuffer", "save_mean", "save_std"),
    *("columns", "ones", "buffer", "indices", "noise"),
}
"""Fields that torch/nn's `clearState` empties; so are all that start with `_` or `grad`."""
DEEPEST_TABLE = 4
"""Tensors in tables in tables are taken down to here; tables may hold themselves."""


@dataclass(frozen=True)
class Weights:
    """Arrays by Torch path; `aliases` maps other paths of the same memory (or module) to theirs."""

    arrays: dict[str, Array]
    aliases: dict[str, str] = field(default_factory=dict)
    order: str = "torch"

    def json(self) -> dict[str, Any]:
        """Names, shapes and dtypes, without the numbers."""
        return {
            "order": self.order,
            "arrays": {
                name: {"shape": list(array.shape), "dtype": str(array.dtype)}
                for name, array in self.arrays.items()
            },
            "aliases": self.aliases,
        }


def collect(root: TorchObject, registry: Registry) -> Weights:
    """All tensors of the tree in Torch's order of axes, as views of the file."""
    arrays: dict[str, Array] = {}
    aliases: dict[str, str] = {}
    names: dict[Hashable, str] = {}
    paths: dict[int, str] = {}
    for path, module in modules(root, registry):
        paths[module.index] = path
        for name, tensor in tensors(module):
            full = free(join(path, name), arrays, aliases)
            first = names.setdefault((tensor.key, tensor.dtype), full)
            if first == full:
                arrays[full] = tensor.array
            else:
                aliases[full] = first
    for path, module in modules(root, registry):
        for number, child in parts(module):
            other = join(path, str(number))
            if paths[child.index] != other:
                aliases[other] = paths[child.index]
    return Weights(arrays, aliases)


def collect_plain(root: Any) -> Weights:
    """All tensors of tables and objects that are no modules; a file's only tensor is `tensor`."""
    arrays: dict[str, Array] = {}
    aliases: dict[str, str] = {}
    names: dict[Hashable, str] = {}
    for path, value in entries(root):
        if not isinstance(value, Tensor) or not value.numel:
            continue
        full = free(path or "tensor", arrays, aliases)
        first = names.setdefault((value.key, value.dtype), full)
        if first == full:
            arrays[full] = value.array
        else:
            aliases[full] = first
    return Weights(arrays, aliases)


def entries(root: Any) -> Iterator[tuple[str, Any]]:
    """All that tables and objects hold, by path, each of them once."""
    visited: set[int] = set()
    pending: list[tuple[str, Any]] = [("", root)]
    while pending:
        path, value = pending.pop()
        if not isinstance(value, Table | TorchObject):
            yield path, value
        elif value.index not in visited:
            visited.add(value.index)
            inner = [(join(path, escaped(str(key))), item) for key, item in entries_of(value)]
            pending.extend(reversed(inner))


def collect_as_tensorflow(root: TorchObject, registry: Registry) -> Weights:
    """The same with TensorFlow's order of axes where a layer map declares one.

    A kernel that follows a flattening keeps Torch's order of features: which features those are is
    known only to a converted graph (the format `weights`).
    """
    torch = collect(root, registry)
    arrays = dict(torch.arrays)
    model = Model(root, registry)
    for path, module in modules(root, registry):
        if module.typename not in registry or not is_layer_map(registry[module.typename]):
            continue
        for param in model.op(module).params().values():
            name = join(path, param.name)
            if name in arrays and arrays[name].size == param.array.size:
                order = [param.axes.index(letter) for letter in param.to]
                arrays[name] = np.transpose(param.array, order)
    return Weights(arrays, torch.aliases, "tensorflow")


def modules(root: TorchObject, registry: Registry) -> Iterator[tuple[str, TorchObject]]:
    """Every module once: those that containers number, then those that other fields hold."""
    visited: set[int] = set()
    pending = deque([("", root)])
    while pending:
        start, top = pending.popleft()
        if top.index in visited:
            continue
        for below, module in submodules(top):
            if module.index in visited:
                continue
            visited.add(module.index)
            path = join(start, below)
            yield path, module
            pending.extend(
                (join(path, escaped(name)), value)
                for name, value in module.fields.items()
                if isinstance(name, str)
                and isinstance(value, TorchObject)
                and is_module(value, registry)
            )


def tensors(module: TorchObject) -> Iterator[tuple[str, Tensor]]:
    """The tensors of one module that are worth keeping, by field; `bias.2` in a table `bias`."""
    for name, value in module.fields.items():
        if isinstance(name, str) and name not in SCRATCH and not name.startswith(("_", "grad")):
            yield from inside(escaped(name), value, DEEPEST_TABLE)


def inside(name: str, value: Any, depth: int) -> Iterator[tuple[str, Tensor]]:
    """A tensor, or those of a table."""
    if isinstance(value, Tensor) and value.numel:
        yield name, value
    elif isinstance(value, Table) and depth:
        for key in value.keys():
            if isinstance(key, str | int):
                yield from inside(f"{name}.{escaped(str(key))}", value[key], depth - 1)


def join(path: str, name: str) -> str:
    """`12.1.2` and `weight` as `12.1.2.weight`."""
    return f"{path}.{name}" if path and name else path or name


def escaped(name: str) -> str:
    """A field's name, which may be any bytes, as all formats can keep it."""
    return printable(name).replace("/", "_")


def free(name: str, *used: dict[str, Any]) -> str:
    """`name`, with as many underscores behind it as make it new."""
    while any(name in names for names in used):
        name += "_"
    return name
