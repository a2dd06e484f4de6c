"""Modules that pick a part of a tensor by position.

Source: torch/nn Select.lua, Narrow.lua. Both copy what they pick: an in-place layer after them
does not change their input.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from porter.layer_maps.axes import RenamingByRank
from porter.maps import (
    Accepts,
    Array,
    LayerMap,
    OpContext,
    Shape,
    TellsInput,
    TensorType,
    Types,
    integer,
    register,
    size,
)


def to_axis(dimension: int, rank: int) -> int:
    """Lua's 1-based dimension, negative from the end, as an axis; out of range for a bad one."""
    return dimension - 1 if dimension > 0 else rank + dimension if dimension < 0 else -1


@register("nn.Select")
class Select(RenamingByRank):
    """Slice `index` along `dimension`, which is dropped; both may count from the end."""

    dimension = integer("dimension")
    index = integer("index")
    moves = True

    def sources(self, shape: tuple[int | None, ...]) -> list[int | None]:
        chosen = to_axis(self.dimension, len(shape))
        return [axis for axis in range(len(shape)) if axis != chosen]

    def output_shape(self, x: Shape) -> Shape:
        axis = to_axis(self.dimension, len(x))
        fits = len(x) > 1 and 0 <= axis < len(x)
        self.require(fits, f"selects along dimension {self.dimension}, of two or more", x)
        fits = 1 <= abs(self.index) <= x[axis]
        self.require(fits, f"selects slice {self.index} of dimension {axis + 1}", x)
        return (*x[:axis], *x[axis + 1 :])

    def reference(self, x: Array) -> Array:
        index = self.index - 1 if self.index > 0 else self.index
        picked: Array = np.take(x, index, axis=to_axis(self.dimension, x.ndim))
        return picked

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        axis = at.axis(to_axis(self.dimension, at.inputs[0].rank))
        begin: list[Any] = [0] * at.inputs[0].rank
        extent = [-1] * at.inputs[0].rank
        begin[axis] = from_start(tf, x, axis, self.index)
        extent[axis] = 1
        return tf.squeeze(tf.slice(x, begin, extent), axis=[axis])


def from_start(tf: Any, x: Any, axis: int, index: int) -> Any:
    """A 1-based index, negative from the end, as a 0-based one along a stored axis."""
    if index > 0:
        return index - 1
    extent = size(tf, x, axis)
    return extent + index if isinstance(extent, int) else tf.add(extent, index)


@register("nn.Narrow")
class Narrow(LayerMap, TellsInput):
    """`length` slices from `offset` on along `dimension`, which may count from the end.

    A negative length counts from the end: -1 takes all to the last slice. With a negative offset
    Torch instead takes the slices from the first on, and leaves out as many as the length says.
    """

    dimension = integer("dimension")
    offset = integer("index")
    length = integer("length", 1)
    accepts = Accepts.ANY_ORDER
    moves = True

    def bounds(self, extent: int) -> tuple[int, int]:
        """First slice (0-based) and number of slices, of `extent`."""
        length = self.length if self.length >= 0 else extent - self.offset + self.length + 2
        return (self.offset - 1, length) if self.offset >= 0 else (0, extent - length)

    def input_of(self, output: TensorType) -> TensorType | None:
        axis = to_axis(self.dimension, output.rank)
        shape = (None if at == axis else size for at, size in enumerate(output.shape))
        return replace(output, shape=tuple(shape))

    def output_shape(self, x: Shape) -> Shape:
        axis = to_axis(self.dimension, len(x))
        self.require(0 <= axis < len(x), f"narrows dimension {self.dimension}", x)
        first, length = self.bounds(x[axis])
        fits = first >= 0 and 1 <= length <= x[axis] - first
        self.require(fits, f"takes {length} slices from {first + 1} of dimension {axis + 1}", x)
        return (*x[:axis], length, *x[axis + 1 :])

    def reference(self, x: Array) -> Array:
        axis = to_axis(self.dimension, x.ndim)
        first, length = self.bounds(x.shape[axis])
        return np.take(x, range(first, first + length), axis=axis)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        torch_axis = to_axis(self.dimension, at.inputs[0].rank)
        axis, length = at.axis(torch_axis), at.outputs[0].shape[torch_axis]
        begin = [0] * at.inputs[0].rank
        extent: list[Any] = [-1] * at.inputs[0].rank
        begin[axis], left_out = self.bounds(0)
        # The number of slices is either fixed or grows with the input, by one for one.
        extent[axis] = tf.add(size(tf, x, axis), left_out) if length is None else length
        return tf.slice(x, begin, extent)


@register("nn.MaskedSelect")
class MaskedSelect(LayerMap):
    """The elements of {x, mask} where the mask is not zero, in Torch's order.

    Their number depends on the mask, so the output's size is free.
    """

    def output_types(self, *inputs: TensorType) -> Types:
        x, mask = inputs
        self.require(x.shape == mask.shape, "takes a mask as large as the tensor", x, mask)
        return (TensorType((None,), x.dtype),)

    def reference(self, x: Array, mask: Array) -> Array:
        picked: Array = x[mask != 0]
        return picked

    def apply(self, tf: Any, x: Any, mask: Any, at: OpContext) -> Any:
        return tf.boolean_mask(x, tf.not_equal(mask, tf.zeros([], mask.dtype)))
