"""Slices of a tensor as a table, tensors stacked, and what is read from a stack.

Source: torch/nn SplitTable.lua. The stacks are porter's: a table whose length is free is kept in
one tensor (porter/frontend/open_tables.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.maps import (
    Array,
    LayerMap,
    Layout,
    Layouts,
    MakesTable,
    MoveAxis,
    OpContext,
    ReadsTable,
    Shape,
    TensorType,
    TooLarge,
    Types,
    Window,
    integer,
    size,
    string,
    torch_order,
)

MAX_SLICES = 10_000
"""Tensors that splitting one may make: as many as a model may call modules on."""


class Split(LayerMap, MakesTable):
    """All slices of a tensor across one axis, without that axis; they share its memory."""

    axis = integer("axis")
    is_view = True
    fresh_output = True

    def views(self, x: Window, outputs: tuple[TensorType, ...]) -> tuple[Window, ...]:
        return tuple(x.selected(self.axis, index) for index in range(len(outputs)))

    def put_together(self) -> LayerMap:
        return Stack(axis=self.axis)

    def table_axis(self) -> int:
        return self.axis

    def output_types(self, *inputs: TensorType) -> Types:
        (x,) = inputs
        # A Lua vector would be split into numbers, which no module takes.
        self.require(x.rank > 1, "splits tensors of two or more dimensions", x)
        shape = x.static
        if shape[self.axis] > MAX_SLICES:
            raise TooLarge(
                f"{self.typename} makes more than {MAX_SLICES:,} tensors", received=str(x)
            )
        rest = shape[: self.axis] + shape[self.axis + 1 :]
        return (TensorType(rest, x.dtype),) * shape[self.axis]

    def reference(self, x: Array) -> tuple[Array, ...]:
        return tuple(np.take(x, i, axis=self.axis) for i in range(x.shape[self.axis]))

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tuple(tf.unstack(x, num=len(at.outputs), axis=at.axis(self.axis)))

    def layouts(self, available: Layouts, inputs: Types, outputs: Types) -> tuple[Layouts, Layouts]:
        layout = available[0] if available[0].flat is None else torch_order(inputs[0].rank)
        axes = [axis for axis in layout.order if axis != self.axis]
        slice_layout = Layout(tuple(axis - (axis > self.axis) for axis in axes))
        return (layout,), (slice_layout,) * len(outputs)


class Stack(LayerMap, ReadsTable):
    """Tensors of one shape stacked along a new axis: the inverse of Split."""

    axis = integer("axis")
    moves = True

    def output_shape(self, *shapes: Shape) -> Shape:
        self.require(len(set(shapes)) == 1, "takes tensors of one shape", *shapes)
        return (*shapes[0][: self.axis], len(shapes), *shapes[0][self.axis :])

    def on_stacked(self) -> LayerMap:
        return MoveAxis(source=0, destination=self.axis)

    def reference(self, *xs: Array) -> Array:
        return np.stack(xs, axis=self.axis)

    def apply(self, tf: Any, *xs: Any, at: OpContext) -> Any:
        return tf.stack(list(xs), axis=self.axis)


class JoinStacked(LayerMap):
    """T × … tensors of one shape, stacked in front, concatenated along one of their axes."""

    axis = integer("axis")
    moves = True

    def reference(self, x: Array) -> Array:
        x = np.moveaxis(x, 0, self.axis)
        return x.reshape(*x.shape[: self.axis], -1, *x.shape[self.axis + 2 :])

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        rank, axis = at.inputs[0].rank, self.axis
        kept = [size(tf, x, each) for each in range(1, rank)]
        x = tf.transpose(x, [*range(1, axis + 1), 0, *range(axis + 1, rank)])
        return tf.reshape(x, [*kept[:axis], -1, *kept[axis + 1 :]])


class ReducedStack(LayerMap):
    """Tensors stacked in front, T × …, added, multiplied or compared element by element.

    In a comparison NaN counts in the first tensor only (see CMaxTable).
    """

    reduction = string("reduction")

    def reference(self, x: Array) -> Array:
        reduce = {
            "reduce_sum": np.add,
            "reduce_prod": np.multiply,
            "reduce_max": np.fmax,
            "reduce_min": np.fmin,
        }[self.reduction]
        total: Array = np.where(np.isnan(x[0]), x[0], reduce.reduce(x, axis=0))
        return total

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        reduce = getattr(tf, self.reduction)
        if self.reduction in ("reduce_sum", "reduce_prod"):
            return reduce(x, axis=0)
        first = tf.strided_slice(x, [0], [1], [1])
        others = reduce(tf.where(tf.math.is_nan(x), first, x), axis=0)
        return tf.where(tf.math.is_nan(tf.squeeze(first, [0])), tf.squeeze(first, [0]), others)
