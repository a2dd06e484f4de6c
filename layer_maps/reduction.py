"""Sums, means and extrema along one dimension.

Source: torch/nn Sum.lua, Mean.lua, Max.lua, Min.lua; dpnn ArgMax.lua, Kmeans.lua, OneHot.lua.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import numpy as np

from porter.layer_maps.gradients import with_gradient, with_gradient_of
from porter.maps import (
    FLOAT,
    INT,
    Array,
    LayerMap,
    Layout,
    Layouts,
    OpContext,
    Shape,
    TensorType,
    Types,
    flag,
    integer,
    optional_integer,
    param,
    register,
    size,
    torch_order,
)


class Reduction(LayerMap):
    """One axis is reduced. It vanishes, unless it is the only one: Torch7 has no scalars.

    Works in any order of the axes: those that are left keep theirs.
    """

    ordered: ClassVar[bool] = False
    """Whether the result depends on the order of the elements along the axis."""

    @abc.abstractmethod
    def reduced_dimension(self, rank: int) -> int:
        """The 1-based dimension, counted from the front."""

    def reduced_axis(self, rank: int) -> int:
        return self.reduced_dimension(rank) - 1

    def drops_axis(self, rank: int) -> bool:
        return rank > 1

    def output_shape(self, x: Shape) -> Shape:
        dimension = self.reduced_dimension(len(x))
        self.require(1 <= dimension <= len(x), f"reduces dimension {dimension}", x)
        one = () if self.drops_axis(len(x)) else (1,)
        return (*x[: dimension - 1], *one, *x[dimension:])

    def layouts(self, available: Layouts, inputs: Types, outputs: Types) -> tuple[Layouts, Layouts]:
        rank, reduced = inputs[0].rank, torch_order(outputs[0].rank)
        axis, (layout,) = self.reduced_axis(rank), available
        if layout.flat is not None:
            if axis == rank - 1 and not self.ordered:
                return available, (reduced,)
            return (torch_order(rank),), (reduced,)
        if self.drops_axis(rank):
            reduced = Layout(tuple(each - (each > axis) for each in layout.order if each != axis))
            return available, (reduced,)
        return available, available


class AlongDimension(Reduction):
    """Along `dimension`, which is negative from the end, or counts the dimensions of a sample.

    With `nInputDims`, an input of one dimension more is a batch. A negative dimension ignores it.
    """

    dimension = integer("dimension", 1)
    sample_rank = optional_integer("nInputDims")

    def reduced_dimension(self, rank: int) -> int:
        if self.dimension < 0:
            return rank + self.dimension + 1
        batched = self.sample_rank is not None and rank == self.sample_rank + 1
        return self.dimension + int(batched)


class Summing(AlongDimension):
    """Sum, or mean with `sizeAverage`; without `squeeze` the axis stays, with size 1."""

    average = flag("sizeAverage")
    squeeze = flag("squeeze", default=True)

    def drops_axis(self, rank: int) -> bool:
        return self.squeeze and rank > 1

    def reference(self, x: Array) -> Array:
        axis = self.reduced_axis(x.ndim)
        total: Array = x.sum(axis=axis, keepdims=not self.drops_axis(x.ndim))
        return total / x.shape[axis] if self.average else total

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        rank = at.inputs[0].rank
        axis, keep = at.axis(self.reduced_axis(rank)), not self.drops_axis(rank)
        if self.average:
            return tf.reduce_mean(x, axis=axis, keepdims=keep)
        return tf.reduce_sum(x, axis=axis, keepdims=keep)


@register("nn.Sum")
class Sum(Summing):
    """Sum along a dimension."""


@register("nn.Mean")
class Mean(Summing):
    """Mean along a dimension; files from before `sizeAverage` mean it too."""

    average = flag("sizeAverage", default=True)


class Extremum(AlongDimension):
    """The largest or smallest element along a dimension."""

    def to_one(self, tf: Any, x: Any, place_of: Any, at: OpContext) -> Any:
        """`apply`, with all of the gradient for the first of several equal elements."""
        rank = at.inputs[0].rank
        axis = at.axis(self.reduced_axis(rank))
        places, keep = place_of(x, axis=axis), not self.drops_axis(rank)
        hit = tf.one_hot(places, size(tf, x, axis), True, False, axis=axis, dtype=tf.bool)
        first = tf.reduce_sum(tf.where(hit, x, tf.zeros_like(x)), axis=axis, keepdims=keep)
        return with_gradient_of(tf, self.apply(tf, x, at=at), first)


@register("nn.Max")
class Max(Extremum):
    """Largest element along a dimension; NaN if there is one."""

    def reference(self, x: Array) -> Array:
        keep = not self.drops_axis(x.ndim)
        largest: Array = np.max(x, axis=self.reduced_axis(x.ndim), keepdims=keep)
        return largest

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        rank = at.inputs[0].rank
        axis = at.axis(self.reduced_axis(rank))
        return tf.reduce_max(x, axis=axis, keepdims=not self.drops_axis(rank))

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        return self.to_one(tf, x, tf.argmax, at)


@register("nn.Min")
class Min(Extremum):
    """Smallest element along a dimension; NaN if there is one."""

    def reference(self, x: Array) -> Array:
        keep = not self.drops_axis(x.ndim)
        smallest: Array = np.min(x, axis=self.reduced_axis(x.ndim), keepdims=keep)
        return smallest

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        rank = at.inputs[0].rank
        axis = at.axis(self.reduced_axis(rank))
        return tf.reduce_min(x, axis=axis, keepdims=not self.drops_axis(rank))

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        return self.to_one(tf, x, tf.argmin, at)


@register("nn.ArgMax")
class ArgMax(Reduction):
    """1-based place of the (first) largest element along `dim`; the first NaN counts as largest.

    An input with more than `nInputDim` dimensions is a batch. The result is of integers, unless
    `asLong` is false.
    """

    dimension = integer("dim", 1)
    sample_rank = integer("nInputDim", 9999)
    as_long = flag("asLong", default=True)
    ordered = True

    def reduced_dimension(self, rank: int) -> int:
        return self.dimension + int(rank > self.sample_rank)

    def output_types(self, *inputs: TensorType) -> Types:
        (x,) = inputs
        return (TensorType(self.output_shape(x.static), INT if self.as_long else x.dtype),)

    def reference(self, x: Array) -> Array:
        axis = self.reduced_axis(x.ndim)
        place: Array = np.argmax(x, axis=axis, keepdims=not self.drops_axis(x.ndim)) + 1
        return place if self.as_long else place.astype(x.dtype)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        rank = at.inputs[0].rank
        axis = at.axis(self.reduced_axis(rank))
        place = tf.argmax(x, axis=axis)
        if at.inputs[0].dtype == FLOAT:
            # tf.argmax passes over NaN.
            missing = tf.math.is_nan(x)
            first = tf.argmax(tf.cast(missing, tf.int32), axis=axis)
            place = tf.where(tf.reduce_any(missing, axis=axis), first, place)
        if not self.drops_axis(rank):
            place = tf.expand_dims(place, axis)
        place = tf.add(place, 1)
        return place if self.as_long else tf.cast(place, at.dtype)


@register("nn.OneHot")
class OneHot(LayerMap):
    """A vector of `outputSize` zeros for each element, with 1 at its (1-based) value."""

    classes = integer("outputSize")

    def output_types(self, *inputs: TensorType) -> Types:
        (x,) = inputs
        self.require(self.classes > 0, f"makes vectors of {self.classes} elements", x.static)
        return (TensorType((*x.static, self.classes), FLOAT),)

    def reference(self, x: Array) -> Array:
        dtype = x.dtype if np.issubdtype(x.dtype, np.floating) else np.float64
        hit: Array = x.astype(np.int64)[..., None] == np.arange(1, self.classes + 1)
        return hit.astype(dtype)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        place = tf.subtract(tf.cast(x, tf.int64), 1)
        return tf.one_hot(place, self.classes, dtype=at.dtype)


@register("nn.Kmeans")
class Kmeans(LayerMap):
    """1-based number of the nearest centre (row of `weight`, K×D) for each row of N×D."""

    weight = param("KD")

    def output_shape(self, x: Shape) -> Shape:
        width = self.weight.shape[1]
        self.require(len(x) == 2 and x[1] == width, f"takes N×{width}", x)
        return x[:1]

    def reference(self, x: Array) -> Array:
        apart = x[:, None] - self.weight.array.astype(x.dtype)
        nearest: Array = np.argmin((apart**2).sum(axis=-1), axis=1)
        return (nearest + 1).astype(x.dtype)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        apart = tf.math.squared_difference(tf.expand_dims(x, 1), at.variable(self.weight))
        nearest = tf.argmin(tf.reduce_sum(apart, axis=2), axis=1)
        return tf.cast(tf.add(nearest, 1), at.dtype)

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        """The gradient of a centre is its distance from its samples' mean, whatever comes upstream.

        A step of size 1 moves it there; centres without samples stay.
        """
        numbers, centres = self.apply(tf, x, at=at), at.variable(self.weight)
        own = tf.one_hot(tf.cast(numbers, tf.int64) - 1, self.weight.shape[0], dtype=at.dtype)
        count = tf.expand_dims(tf.reduce_sum(own, axis=0), 1)
        mean = tf.math.divide_no_nan(tf.matmul(own, x, transpose_a=True), count)
        apart = tf.where(tf.greater(count, 0), tf.subtract(centres, mean), tf.zeros_like(mean))
        # A SavedModel wants a gradient that is computed of the one that comes in.
        return with_gradient(
            tf,
            tf.convert_to_tensor(centres),
            lambda _: tf.identity(numbers),
            lambda dy: tf.add(apart, tf.multiply(tf.reduce_sum(dy), 0)),
        )
