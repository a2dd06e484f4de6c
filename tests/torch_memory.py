"""Torch's memory rules once more, with NumPy buffers: what a module tree makes of an input.

A second implementation, for tests alone: it shares nothing with `porter/frontend` and knows no
graph. Tensors are objects with a place in a storage; each module keeps the tensor or table that it
returns and writes to it again when it is called again (torch/nn, the .lua file of each class;
torch7 lib/TH/generic/THTensor.c `resizeNd`). Only what a layer computes is taken from its map.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from porter.ir.options import Options
from porter.ir.registry import is_layer_map
from porter.layer_maps import default_registry
from porter.torch7 import TorchObject
from tests.build import Array

ELEMENTWISE = {
    "nn.Abs",
    "nn.AddConstant",
    "nn.LeakyReLU",
    "nn.MulConstant",
    "nn.ReLU",
    "nn.Sigmoid",
    "nn.SpatialBatchNormalization",
    "nn.Square",
    "nn.Tanh",
}
UNFOLDING = {"nn.SpatialConvolution"}
"""Layers that read a sample before they write it."""
STEPS: dict[str, Callable[[Array, Array], Array]] = {
    "nn.CAddTable": lambda total, x: total + x,
    "nn.CMulTable": lambda total, x: total * x,
    "nn.CMaxTable": lambda total, x: np.where(x > total, x, total),
}


RULES = {
    "nn.Concat": "concat",
    "nn.ConcatTable": "concat_table",
    "nn.Contiguous": "contiguous",
    "nn.FlattenTable": "flatten_table",
    "nn.Identity": "identity",
    "nn.JoinTable": "join_table",
    "nn.NarrowTable": "narrow_table",
    "nn.ParallelTable": "parallel_table",
    "nn.Replicate": "replicate",
    "nn.SelectTable": "select_table",
    "nn.Sequential": "sequential",
    "nn.SplitTable": "split_table",
    "nn.Squeeze": "squeeze",
    "nn.Unsqueeze": "unsqueeze",
    "nn.View": "view",
    **dict.fromkeys(STEPS, "arithmetic"),
}
"""The method for each class that is more than a layer."""


class Unusable(Exception):
    """Torch fails, or computes something that nobody can have meant."""


class Memory:
    """A storage: it grows in place, and every tensor on it sees that."""

    def __init__(self) -> None:
        self.data = np.zeros(0)

    def grow(self, size: int) -> None:
        if size > len(self.data):
            self.data = np.concatenate([self.data, np.full(size - len(self.data), np.nan)])


@dataclass(eq=False)
class Tensor:
    """A Lua tensor."""

    memory: Memory = field(default_factory=Memory)
    offset: int = 0
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()

    @property
    def array(self) -> Array:
        """The elements as a NumPy array that can be written to."""
        step = self.memory.data.itemsize
        strides = [stride * step for stride in self.strides]
        return np.lib.stride_tricks.as_strided(self.memory.data[self.offset :], self.shape, strides)

    @property
    def contiguous(self) -> bool:
        expected = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1:
                if stride != expected:
                    return False
                expected *= size
        return True

    def set(self, memory: Memory, offset: int, shape: Any, strides: Any) -> Tensor:
        self.memory, self.offset = memory, offset
        self.shape, self.strides = tuple(shape), tuple(strides)
        return self

    def set_to(self, other: Tensor) -> Tensor:
        return self.set(other.memory, other.offset, other.shape, other.strides)

    def resize(self, shape: tuple[int, ...]) -> Tensor:
        if shape != self.shape:
            strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
            self.set(self.memory, self.offset, shape, strides)
            self.memory.grow(self.offset + math.prod(shape))
        return self

    def view(self, of: Tensor, shape: tuple[int, ...]) -> Tensor:
        if not of.contiguous:
            raise Unusable("view of a tensor that is not contiguous")
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        return self.set(of.memory, of.offset, shape, strides)

    def select(self, axis: int, index: int) -> Tensor:
        return Tensor(
            self.memory,
            self.offset + index * self.strides[axis],
            self.shape[:axis] + self.shape[axis + 1 :],
            self.strides[:axis] + self.strides[axis + 1 :],
        )

    def overlaps(self, other: Tensor) -> bool:
        return self.memory is other.memory and bool(
            np.intersect1d(self.places(), other.places()).size
        )

    def places(self) -> Array:
        numbers = np.arange(len(self.memory.data))
        step = numbers.itemsize
        strides = [stride * step for stride in self.strides]
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, strides)

    def same_places(self, other: Tensor) -> bool:
        return self.memory is other.memory and np.array_equal(
            self.places().ravel(), other.places().ravel()
        )


def tensor_of(x: Array) -> Tensor:
    """A new tensor with these elements."""
    tensor = Tensor().resize(x.shape)
    tensor.array[...] = x
    return tensor


def arrays(value: Any) -> Any:
    """Nested tensors as nested arrays, as they are now."""
    if isinstance(value, list):
        return [arrays(item) for item in value]
    if np.isnan(value.array).any():
        raise Unusable("memory that was never written to")
    return value.array.copy()


class Torch:
    """Runs a module tree, and keeps what each module returned."""

    def __init__(self) -> None:
        self.outputs: dict[int, Any] = {}
        self.ranks: dict[int, int] = {}
        """How many dimensions an nn.Unsqueeze met first (Unsqueeze.lua `_getActualPosition`)."""

    def forward(self, module: TorchObject, x: Any) -> Any:
        return getattr(self, RULES.get(module.typename, "layer"))(module, x)

    def own(self, module: TorchObject) -> Tensor:
        """The tensor that the module returns."""
        output: Tensor = self.outputs.setdefault(module.index, Tensor())
        return output

    def own_table(self, module: TorchObject) -> list[Any]:
        table: list[Any] = self.outputs.setdefault(module.index, [])
        return table

    # Layers

    def layer(self, module: TorchObject, x: Any) -> Tensor:
        handler = default_registry()[module.typename]
        assert is_layer_map(handler)
        op = handler.from_torch(module, Options())
        if isinstance(x, list):
            raise Unusable("a table")
        if module.typename == "nn.SpatialBatchNormalization" and len(x.shape) == 3:
            # nn.utils.addSingletonDimension on the caller's own tensor
            x.set(x.memory, x.offset, (1, *x.shape), (math.prod(x.shape), *x.strides))
        shape = self.shape_of(op, x)
        if op.inplace:
            return self.in_place(module, op, x)
        output = self.own(module)
        before = x.array.copy()
        unsafe = x.memory is output.memory
        geometry = (x.offset, x.shape, x.strides)
        output.resize(shape)
        if unsafe and (x.offset, x.shape, x.strides) != geometry:
            raise Unusable("the input was resized")
        if unsafe and x.overlaps(output):
            safe = module.typename in ELEMENTWISE | UNFOLDING
            if not (safe and shape == x.shape and x.same_places(output)):
                raise Unusable(f"{module.typename} reads what it writes")
        output.array[...] = op.reference(before)
        return output

    def shape_of(self, op: Any, x: Tensor) -> tuple[int, ...]:
        try:
            return tuple(op.output_shape(x.shape))
        except Exception as error:
            raise Unusable(str(error)) from error

    def in_place(self, module: TorchObject, op: Any, x: Tensor) -> Tensor:
        memory = x.memory.data
        for place in x.places().ravel():
            memory[place] = op.reference(memory[place : place + 1])[0]
        return self.own(module).set_to(x)

    # Containers

    def sequential(self, module: TorchObject, x: Any) -> Any:
        for child in module.list("modules"):
            x = self.forward(child, x)
        return x

    def concat_table(self, module: TorchObject, x: Any) -> Any:
        table = self.own_table(module)
        for i, child in enumerate(module.list("modules")):
            table[i : i + 1] = [self.forward(child, x)]
        return table

    def parallel_table(self, module: TorchObject, x: Any) -> Any:
        table = self.own_table(module)
        for i, child in enumerate(module.list("modules")):
            if not isinstance(x, list) or i >= len(x):
                raise Unusable("no such entry")
            table[i : i + 1] = [self.forward(child, x[i])]
        return table

    def concat(self, module: TorchObject, x: Any) -> Any:
        parts = [self.forward(child, x) for child in module.list("modules")]
        return self.join(self.own(module), parts, module.integer("dimension") - 1)

    def join_table(self, module: TorchObject, x: Any) -> Any:
        return self.join(self.own(module), x, module.integer("dimension") - 1)

    def join(self, output: Tensor, parts: Any, axis: int) -> Tensor:
        if not isinstance(parts, list) or not all(isinstance(part, Tensor) for part in parts):
            raise Unusable("a table of tensors is joined")
        # Each is copied element by element to its place, whatever the other sizes are.
        first = parts[0].shape
        if axis >= min(len(part.shape) for part in parts):
            raise Unusable("tensors without the dimension are joined")
        places = [(*first[:axis], part.shape[axis], *first[axis + 1 :]) for part in parts]
        if any(
            math.prod(place) != math.prod(part.shape)
            for place, part in zip(places, parts, strict=True)
        ):
            raise Unusable("tensors of other sizes are joined")
        shape = (*first[:axis], sum(part.shape[axis] for part in parts), *first[axis + 1 :])
        geometry = [(part.offset, part.shape, part.strides) for part in parts]
        output.resize(shape)
        if geometry != [(part.offset, part.shape, part.strides) for part in parts]:
            raise Unusable("an input was resized")
        if any(part.overlaps(output) for part in parts):
            raise Unusable("reads what it writes")
        pieces = [part.array.reshape(place) for part, place in zip(parts, places, strict=True)]
        output.array[...] = np.concatenate(pieces, axis)
        return output

    # Tables

    def identity(self, module: TorchObject, x: Any) -> Any:
        return x

    def select_table(self, module: TorchObject, x: Any) -> Any:
        index = module.integer("index")
        if not isinstance(x, list) or abs(index) > len(x):
            raise Unusable("no such entry")
        return x[index - 1 if index > 0 else index]

    def narrow_table(self, module: TorchObject, x: Any) -> Any:
        table, offset = self.own_table(module), module.integer("offset")
        picked = x[offset - 1 : offset - 1 + module.integer("length")]
        table[:] = picked
        return table

    def flatten_table(self, module: TorchObject, x: Any) -> Any:
        if not isinstance(x, list):
            return [x]
        return [tensor for item in x for tensor in self.flatten_table(module, item)]

    def split_table(self, module: TorchObject, x: Any) -> Any:
        axis = module.integer("dimension") - 1
        if isinstance(x, list) or len(x.shape) <= max(axis, 1):
            raise Unusable("nothing to split")
        return [x.select(axis, index) for index in range(x.shape[axis])]

    def arithmetic(self, module: TorchObject, x: Any) -> Any:
        if not isinstance(x, list) or not all(isinstance(each, Tensor) for each in x):
            raise Unusable("a table of tensors is added")
        if len({math.prod(each.shape) for each in x}) > 1:
            raise Unusable("tensors of other sizes are added")
        output = self.own(module)
        if module.typename == "nn.CAddTable" and module.boolean("inplace"):
            output.set_to(x[0])
        else:
            first = x[0].array.copy()
            if any(each is output and each.shape != first.shape for each in x):
                raise Unusable("an input was resized")
            output.resize(first.shape)
            if x[0].overlaps(output) and not x[0].same_places(output):
                raise Unusable("reads what it writes")
            output.array[...] = first
        for each in x[1:]:
            if each.overlaps(output) and not each.same_places(output):
                raise Unusable("reads what it writes")
            entry = each.array.reshape(output.shape)
            output.array[...] = STEPS[module.typename](output.array.copy(), entry)
        return output

    # Views

    def view(self, module: TorchObject, x: Any) -> Any:
        if isinstance(x, list):
            raise Unusable("a table")
        shape = tuple(int(size) for size in np.asarray(module.get("size").array))
        count = math.prod(shape)
        if math.prod(x.shape) % count:
            raise Unusable("no view of that size")
        batch = math.prod(x.shape) // count
        shape = shape if batch == 1 else (batch, *shape)
        return self.own(module).view(x, shape)

    def unsqueeze(self, module: TorchObject, x: Any) -> Any:
        if isinstance(x, list):
            raise Unusable("a table")
        rank = self.ranks.setdefault(module.index, len(x.shape))
        axis = module.integer("pos") - 1 + len(x.shape) - rank
        if rank > len(x.shape):
            raise Unusable("fewer dimensions than at the first call")
        stride = x.strides[axis] * x.shape[axis] if axis < len(x.shape) else 1
        shape = (*x.shape[:axis], 1, *x.shape[axis:])
        strides = (*x.strides[:axis], stride, *x.strides[axis:])
        return self.own(module).set(x.memory, x.offset, shape, strides)

    def squeeze(self, module: TorchObject, x: Any) -> Any:
        if isinstance(x, list) or module.integer("dim") > len(x.shape):
            raise Unusable("no such dimension")
        axis = module.integer("dim") - 1
        if x.shape[axis] != 1 or len(x.shape) == 1:
            return self.own(module).set_to(x)
        return self.own(module).set_to(x.select(axis, 0))

    def replicate(self, module: TorchObject, x: Any) -> Any:
        if isinstance(x, list):
            raise Unusable("a table")
        axis, copies = module.integer("dim") - 1, module.integer("nfeatures")
        if axis > len(x.shape):
            raise Unusable("no such dimension")
        shape = (*x.shape[:axis], copies, *x.shape[axis:])
        strides = (*x.strides[:axis], 0, *x.strides[axis:])
        return self.own(module).set(x.memory, x.offset, shape, strides)

    def contiguous(self, module: TorchObject, x: Any) -> Any:
        if isinstance(x, list):
            raise Unusable("a table")
        output = self.own(module)
        if x.contiguous:
            return output.set_to(x)
        if output.memory is x.memory:
            output.set(Memory(), 0, (), ())
        before = x.array.copy()
        output.resize(x.shape).array[...] = before
        return output
