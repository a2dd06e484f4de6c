"""Table modules: joining and splitting tensors, and picking from tables.

Source: torch/nn JoinTable.lua, SplitTable.lua, SelectTable.lua, NarrowTable.lua, FlattenTable.lua;
dpnn ZipTable.lua, ZipTableOneToMany.lua, ReverseTable.lua.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from porter.layer_maps.slices import JoinStacked, Split
from porter.maps import (
    POINTWISE,
    Accepts,
    Array,
    BadField,
    BadTable,
    BySample,
    HasKerasLayer,
    HasReach,
    HintsInputs,
    LayerMap,
    Layout,
    Nested,
    OpContext,
    Reach,
    ReadsTable,
    Shape,
    ShapeMismatch,
    TensorType,
    TorchObject,
    Value,
    Walk,
    integer,
    size,
    structure,
    torch_order,
)


class Joining(LayerMap, BySample, HintsInputs):
    """Tensors concatenated along one axis."""

    axis = integer("axis")
    accepts = Accepts.ANY_ORDER
    moves = True

    def input_hint_at(
        self, position: int, inputs: Sequence[TensorType | None]
    ) -> TensorType | None:
        other = next((each for each in inputs if each is not None), None)
        if other is None or other.rank <= self.axis:
            return None
        free = (*other.shape[: self.axis], None, *other.shape[self.axis + 1 :])
        return replace(other, shape=free)

    def is_by_sample(self) -> bool:
        return self.axis > 0


class Join(Joining, HasKerasLayer, HasReach, ReadsTable):
    """Tensors joined whose other axes are equal, or that have as many elements as if they were.

    Torch copies each into its part of the output element by element: 4×8 joins 4×10×1×1 along the
    second dimension as 4×8×1×1 would (JoinTable.lua).
    """

    def reach(self, axis: int, inputs: Sequence[TensorType]) -> Reach | None:
        return POINTWISE if self.axis != axis and self.alike(inputs) else None

    def part(self, x: Shape, first: Shape) -> Shape:
        """The shape of the output's part that a tensor is copied into."""
        return (*first[: self.axis], x[self.axis], *first[self.axis + 1 :])

    def output_shape(self, *shapes: Shape) -> Shape:
        first, axis = shapes[0], self.axis
        for shape in shapes:
            self.require(axis < len(shape), f"joins along dimension {axis + 1}", *shapes)
            self.require(
                math.prod(self.part(shape, first)) == math.prod(shape),
                f"joins tensors along dimension {axis + 1}: all others should be equal",
                *shapes,
            )
        return (*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])

    def reference(self, *xs: Array) -> Array:
        parts = [x.reshape(self.part(x.shape, xs[0].shape)) for x in xs]
        return np.concatenate(parts, axis=self.axis)

    def apply(self, tf: Any, *xs: Any, at: OpContext) -> Any:
        if not self.alike(at.inputs):
            xs = (xs[0], *(self.reshaped(tf, x, xs[0]) for x in xs[1:]))
        return tf.concat(list(xs), axis=at.axis(self.axis))

    def alike(self, types: Sequence[TensorType]) -> bool:
        """Whether all tensors have one shape but for the axis that they are joined along."""
        others = {(*t.shape[: self.axis], None, *t.shape[self.axis + 1 :]) for t in types}
        return len(others) == 1

    def reshaped(self, tf: Any, x: Any, first: Any) -> Any:
        """A tensor in the shape of its part, where both are in Torch's order."""
        extents = [size(tf, first, axis) for axis in range(len(first.shape))]
        return tf.reshape(
            x, [*extents[: self.axis], size(tf, x, self.axis), *extents[self.axis + 1 :]]
        )

    def layouts(
        self,
        available: tuple[Layout, ...],
        inputs: tuple[TensorType, ...],
        outputs: tuple[TensorType, ...],
    ) -> tuple[tuple[Layout, ...], tuple[Layout, ...]]:
        if self.alike(inputs):
            return super().layouts(available, inputs, outputs)
        return tuple(torch_order(each.rank) for each in inputs), (torch_order(outputs[0].rank),)

    def on_stacked(self) -> LayerMap:
        return JoinStacked(axis=self.axis)

    def keras(self, k: Any, *xs: Any, at: OpContext) -> Any:
        joins = len(xs) > 1 and self.alike(at.inputs)
        return k("Concatenate", *xs, axis=at.axis(self.axis)) if joins else None


def counted_axis(module: TorchObject, rank: int) -> int:
    """The 0-based axis of Lua's `dimension`, for a tensor of `rank` dimensions.

    A negative dimension counts from the end; a positive one counts without the batch if the tensor
    has exactly one dimension more than `nInputDims`.
    """
    dimension = module.integer("dimension")
    axis = rank + dimension if dimension < 0 else dimension - 1
    if dimension > 0 and rank == module.integer("nInputDims", -1) + 1:
        axis += 1
    if not 0 <= axis < rank:
        raise ShapeMismatch(
            f"{module.typename} works on dimension {dimension}", received=f"{rank} dimensions"
        )
    return axis


def table(module: TorchObject, x: Nested[Value]) -> list[Nested[Value]]:
    """`x` if it is a list; anything else is the model's mistake."""
    if isinstance(x, list):
        return x
    raise BadTable(
        f"{module.typename} should be given a table",
        received="a table with string keys" if isinstance(x, dict) else "one tensor",
    )


def table_of_tensors(module: TorchObject, x: Nested[Value]) -> list[Value]:
    """`x` if it is a list of one or more tensors."""
    tensors = [item for item in table(module, x) if isinstance(item, Value)]
    if not tensors or len(tensors) < len(x if isinstance(x, list) else []):
        raise BadTable(
            f"{module.typename} should be given a table of tensors",
            received="a table of tables" if tensors else "a table without tensors",
        )
    return tensors


@structure("nn.JoinTable")
def join_table(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """All tensors of a table concatenated along `dimension` (see `counted_axis`)."""
    tensors = table_of_tensors(module, x)
    axis = counted_axis(module, tensors[0].type.rank)
    return walk.emit(Join(axis=axis), *tensors)


@structure("nn.SplitTable")
def split_table(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """A table of the slices across `dimension` (see `counted_axis`), which is dropped."""
    if not isinstance(x, Value):
        raise BadTable(f"{module.typename} should be given one tensor", received="a table")
    return list(walk.run(Split(axis=counted_axis(module, x.type.rank)), x))


@structure("nn.SelectTable", "nn.ElementTable")
def select_table(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """One entry: 1-based, negative from the end, or a string key."""
    index = module.get("index")
    if isinstance(index, str):
        if not isinstance(x, dict) or index not in x:
            raise BadTable(
                f"{module.typename} picks entry '{index}'",
                received=", ".join(sorted(x)) if isinstance(x, dict) else "no string keys",
            )
        return x[index]
    position, entries = module.integer("index"), table(module, x)
    if not 0 < abs(position) <= len(entries):
        raise BadTable(
            f"{module.typename} picks entry {position}", received=f"a table of {len(entries)}"
        )
    return entries[position - 1 if position > 0 else position]


@structure("nn.NarrowTable")
def narrow_table(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """`length` (default 1) entries from `offset` on, fewer where the table ends before."""
    offset, length = module.integer("offset"), module.integer("length", 1)
    if offset < 1:
        raise BadField(f"'offset' of {module.typename} counts from 1", received=str(offset))
    entries = table(module, x)
    picked = entries[offset - 1 :][: max(length, 0)]
    if not picked:
        raise BadTable(
            f"{module.typename} picks {length} entries from entry {offset} on",
            received=f"a table of {len(entries)}",
        )
    return walk.own_table(picked)


@structure("nn.FlattenTable")
def flatten_table(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """All tensors of nested tables in one list, depth first."""
    flat: list[Nested[Value]] = []
    for item in table(module, x):
        if isinstance(item, Value):
            flat.append(item)
        else:
            flat += table(module, flatten_table(walk, module, item))
    return flat


@structure("nn.ReverseTable")
def reverse_table(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The entries in reverse order."""
    return walk.own_table(table(module, x)[::-1])


@structure("nn.ZipTable")
def zip_table(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """{{a1, a2}, {b1, b2}} becomes {{a1, b1}, {a2, b2}}."""
    rows = [table(module, row) for row in table(module, x)]
    if len({len(row) for row in rows}) != 1:
        raise BadTable(
            f"{module.typename} should be given tables of one length",
            received=", ".join(str(len(row)) for row in rows) or "an empty table",
        )
    return [list(column) for column in zip(*rows, strict=True)]


@structure("nn.ZipTableOneToMany")
def zip_table_one_to_many(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """{v, {a, b}} becomes {{v, a}, {v, b}}."""
    pair = table(module, x)
    if len(pair) != 2:
        raise BadTable(
            f"{module.typename} should be given an entry and a table",
            received=f"a table of {len(pair)}",
        )
    return [[pair[0], item] for item in table(module, pair[1])]
