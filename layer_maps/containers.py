"""Containers: modules that call other modules, and join or split their inputs and outputs.

Source: torch/nn Sequential.lua, Concat.lua, DepthConcat.lua, ConcatTable.lua, Parallel.lua,
ParallelTable.lua, MapTable.lua, Bottle.lua; fbcunn ModelParallel.lua.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from porter.layer_maps.shape import Reshaping
from porter.layer_maps.slices import Split
from porter.layer_maps.table import Join, Joining
from porter.maps import (
    Array,
    BadField,
    BadTable,
    LayerMap,
    Layouts,
    Nested,
    OpContext,
    Shape,
    ShapeMismatch,
    TensorType,
    TorchObject,
    Types,
    Value,
    Walk,
    integer,
    regrouped,
    size,
    structure,
    torch_order,
)


def one_tensor(module: TorchObject, x: Nested[Value]) -> Value:
    """`x`, which must be a tensor. Raises BadTable."""
    if not isinstance(x, Value):
        raise BadTable(f"{module.typename} should be given one tensor", received="a table")
    return x


def tensors(module: TorchObject, x: Nested[Value], what: str = "be given") -> list[Value]:
    """`x`, which must be a list of at least one tensor. Raises BadTable."""
    if not isinstance(x, list) or not x or not all(isinstance(item, Value) for item in x):
        raise BadTable(f"{module.typename} should {what} a table of tensors")
    return [item for item in x if isinstance(item, Value)]


def dimension_to_axis(module: TorchObject, dimension: int, rank: int) -> int:
    """Lua's 1-based dimension, negative from the end, as a 0-based axis."""
    axis = dimension - 1 if dimension > 0 else rank + dimension
    if not 0 <= axis < rank or dimension == 0:
        raise ShapeMismatch(
            f"{module.typename} works on dimension {dimension}", received=f"{rank} dimensions"
        )
    return axis


def first_child(walk: Walk, module: TorchObject) -> TorchObject:
    """The module that a module with one child wraps."""
    children = walk.children(module)
    if not children:
        raise BadField(f"{module.typename} holds no module")
    return children[0]


# One input, or one for each child -----------------------------------------------------------------


@structure("nn.Sequential", "nn.SequentialSplitBatch")
def sequential(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """Each child on the output of the one before.

    nn.SequentialSplitBatch (multipathnet) does so for parts of a large batch, to save memory.
    """
    for position, child in enumerate(walk.children(module), start=1):
        x = walk(child, x, at=str(position))
    return x


def children_on(walk: Walk, module: TorchObject, x: Nested[Value]) -> list[Nested[Value]]:
    """The outputs of all children on the same input, in order."""
    return [
        walk(child, x, at=str(position))
        for position, child in enumerate(walk.children(module), start=1)
    ]


@structure("nn.ConcatTable")
def concat_table(walk: Walk, module: TorchObject, x: Nested[Value]) -> list[Nested[Value]]:
    """Every child on the same input, in order."""
    return walk.own_table(
        walk(child, x, at=str(position))
        for position, child in enumerate(walk.children(module), start=1)
    )


@structure("nn.ParallelTable")
def parallel_table(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """Child i on entry i of the input; entries without a child are dropped."""
    children = walk.children(module)
    if not isinstance(x, list) or len(x) < len(children):
        raise BadTable(
            f"{module.typename} has {len(children)} modules and needs as many inputs",
            received=f"a table of {len(x)}" if isinstance(x, list) else "one tensor",
        )
    return walk.own_table(
        walk(child, item, at=str(position))
        for position, (child, item) in enumerate(zip(children, x, strict=False), start=1)
    )


@structure("nn.MapTable")
def map_table(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """One module on every entry: Torch clones it on demand, and the clones share its weights.

    The table is a new one at every call.
    """
    if not isinstance(x, list):
        raise BadTable(f"{module.typename} should be given a table", received="one tensor")
    clones = walk.children(module) if "modules" in module else []
    original = clones[0] if clones else module.object("module")
    outputs: list[Nested[Value]] = []
    for position, item in enumerate(x):
        with walk.cloned(*((module.index, position) if position >= max(len(clones), 1) else ())):
            clone = clones[position] if position < len(clones) else original
            outputs.append(walk(clone, item, at=str(position + 1)))
    return outputs


# Outputs joined -----------------------------------------------------------------------------------


@structure("nn.Concat", "nn.ModelParallel")
def concat(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """Every child on the same input, outputs joined along `dimension` (batch counted)."""
    # Concat.lua runs all children before it copies any output, so a child that works in place
    # changes what an earlier nn.Identity passed on.
    outputs = tensors(module, children_on(walk, module, x), "join")
    axis = dimension_to_axis(module, module.integer("dimension"), outputs[0].type.rank)
    return walk.emit(Join(axis=axis), *outputs)


@structure("nn.DepthConcat")
def depth_concat(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """As nn.Concat, with smaller outputs centred among zeros."""
    outputs = tensors(module, children_on(walk, module, x), "join")
    axis = dimension_to_axis(module, module.integer("dimension"), outputs[0].type.rank)
    return walk.emit(CentredJoin(axis=axis), *outputs)


@structure("nn.Parallel")
def parallel(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """Child i on slice i across `inputDimension`, outputs joined along `outputDimension`.

    The slices lack the input dimension, which `outputDimension` therefore does not count.
    """
    whole = one_tensor(module, x)
    axis = dimension_to_axis(module, module.integer("inputDimension"), whole.type.rank)
    children = walk.children(module)
    if whole.shape[axis] > len(children):
        raise ShapeMismatch(
            f"{module.typename} has {len(children)} modules, one for each slice of its input",
            received=str(whole.type),
        )
    slices: list[Nested[Value]] = list(walk.run(Split(axis=axis), whole))
    outputs = tensors(
        module,
        [walk(children[i], piece, at=str(i + 1)) for i, piece in enumerate(slices)],
        "join",
    )
    axis = dimension_to_axis(module, module.integer("outputDimension"), outputs[0].type.rank)
    return walk.emit(Join(axis=axis), *outputs)


class CentredJoin(Joining):
    """Tensors joined along `axis`, in all other axes padded with zeros to the largest.

    A tensor smaller by m starts at floor(m/2).
    """

    def output_shape(self, *shapes: Shape) -> Shape:
        ranks = {len(shape) for shape in shapes}
        self.require(len(ranks) == 1, "joins tensors of equally many dimensions", *shapes)
        joined = [max(extents) for extents in zip(*shapes, strict=True)]
        joined[self.axis] = sum(shape[self.axis] for shape in shapes)
        return tuple(joined)

    def reference(self, *xs: Array) -> Array:
        out = np.zeros(self.output_shape(*(x.shape for x in xs)), xs[0].dtype)
        offset = 0
        for x in xs:
            starts = [(whole - part) // 2 for whole, part in zip(out.shape, x.shape, strict=True)]
            starts[self.axis] = offset
            place = tuple(slice(s, s + n) for s, n in zip(starts, x.shape, strict=True))
            out[place] = x
            offset += x.shape[self.axis]
        return out

    def apply(self, tf: Any, *xs: Any, at: OpContext) -> Any:
        joined = at.axis(self.axis)
        extents = [[size(tf, x, axis) for axis in range(at.inputs[0].rank)] for x in xs]
        largest = [largest_of(tf, list(sizes)) for sizes in zip(*extents, strict=True)]
        padded = []
        for x, extent in zip(xs, extents, strict=True):
            margins = [
                [0, 0] if axis == joined else margin(tf, whole, part)
                for axis, (whole, part) in enumerate(zip(largest, extent, strict=True))
            ]
            edges = [edge for pair in margins for edge in pair]
            even = all(isinstance(edge, int) and edge == 0 for edge in edges)
            padded.append(x if even else tf.pad(x, margins))
        return tf.concat(padded, axis=joined)


def largest_of(tf: Any, sizes: list[Any]) -> Any:
    """The maximum of sizes of which some may be tensors."""
    if all(isinstance(each, int) for each in sizes):
        return max(sizes)
    return tf.reduce_max(tf.stack(sizes))


def margin(tf: Any, whole: Any, part: Any) -> list[Any]:
    """The number of zeros before and after `part` that centre it in `whole`."""
    if isinstance(whole, int) and isinstance(part, int):
        before = (whole - part) // 2
        return [before, whole - part - before]
    missing = tf.subtract(whole, part)
    before = tf.math.floordiv(missing, 2)
    return [before, tf.subtract(missing, before)]


# Leading dimensions fused -------------------------------------------------------------------------


@structure("nn.Bottle")
def bottle(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The child on a tensor whose leading dimensions are fused, so that `nInputDim` are left.

    Its output has `nOutputDim` dimensions, of which the first is unfused again.
    """
    tensor = one_tensor(module, x)
    input_rank = module.integer("nInputDim", 2)
    output_rank = module.integer("nOutputDim", input_rank)
    child = first_child(walk, module)
    fused = tensor.type.rank - input_rank + 1
    if fused <= 1:
        return walk.set_output(one_tensor(module, walk(child, tensor, at="1")))
    output = walk(child, walk.emit(Fuse(count=fused), tensor), at="1")
    result = one_tensor(module, output)
    if result.type.rank != output_rank:
        raise ShapeMismatch(
            f"{module.typename} expects {output_rank} dimensions of its module",
            received=str(result.type),
        )
    return walk.emit(Unfuse(count=fused), result, tensor)


class Fuse(Reshaping):
    """The first `count` dimensions multiplied into one."""

    count = integer("count")

    def output_shape(self, x: Shape) -> Shape:
        return (math.prod(x[: self.count]), *x[self.count :])

    def leading(self, x: TensorType, output: TensorType) -> int:
        return self.count

    def target(self, tf: Any, x: Any, at: OpContext) -> list[Any]:
        order = at.output_layouts[0].order
        extents = [size(tf, x, at.axis(axis)) for axis in range(self.count, at.inputs[0].rank)]
        return [-1 if axis == 0 else extents[axis - 1] for axis in order]


class Unfuse(LayerMap):
    """The first dimension split as the first `count` dimensions of a second tensor are.

    Of these only the last may have changed its size.
    """

    count = integer("count")
    is_view = True
    shape_only = (1,)

    def output_shape(self, x: Shape, like: Shape) -> Shape:
        batch = like[: self.count - 1]
        fits = x[0] % math.prod(batch) == 0
        self.require(fits, f"makes a batch of {'×'.join(map(str, batch))}", x)
        return (*batch, x[0] // math.prod(batch), *x[1:])

    def reference(self, x: Array, like: Array) -> Array:
        return np.reshape(x, self.output_shape(x.shape, like.shape))

    def apply(self, tf: Any, x: Any, like: Any, at: OpContext) -> Any:
        batch = [size(tf, like, at.axis(axis, of=1)) for axis in range(self.count - 1)]
        rest = [size(tf, x, at.axis(axis)) for axis in range(1, at.inputs[0].rank)]
        target = [*batch, -1, *rest]
        return tf.reshape(x, [target[axis] for axis in at.output_layouts[0].order])

    def layouts(self, available: Layouts, inputs: Types, outputs: Types) -> tuple[Layouts, Layouts]:
        layout = regrouped(available[0], inputs[0], outputs[0], first=(1, self.count))
        if layout is not None:
            return available, (layout,)
        return (torch_order(inputs[0].rank), available[1]), (torch_order(outputs[0].rank),)
