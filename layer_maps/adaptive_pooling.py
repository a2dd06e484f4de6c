"""Poolings whose windows follow from the size of the output.

Source: torch/nn SpatialAdaptiveMaxPooling.lua, SpatialAdaptiveAveragePooling.lua; THNN
SpatialAdaptiveMaxPooling.c, SpatialAdaptiveAveragePooling.c.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import numpy as np

from porter.layer_maps.windows import passing_over_nan, without_nan
from porter.maps import Accepts, Array, LayerMap, OpContext, Shape, integers, register, size


class AdaptivePooling(LayerMap):
    """One window for each of m = H or W outputs: from ⌊i·n/m⌋ to ⌈(i+1)·n/m⌉, batched or not.

    The bounds are computed in single precision, dividing first, as THNN does; for a few sizes they
    are off by one from these formulas (21 elements into 7 give windows of up to 4).
    """

    output_size = integers("H", "W")
    accepts = Accepts.CHANNELS_LAST

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) in (3, 4), "takes N×C×H×W or C×H×W", x)
        self.require(min(self.output_size) > 0, "makes at least one element", self.output_size)
        return (*x[:-2], *self.output_size)

    @staticmethod
    def windows(n: int, output_size: int) -> list[tuple[int, int]]:
        """Start and end of each window."""
        single = np.float32
        return [
            (
                int(np.floor(single(i) / single(output_size) * single(n))),
                int(np.ceil(single(i + 1) / single(output_size) * single(n))),
            )
            for i in range(output_size)
        ]

    def regular(self, n: int | None, output_size: int) -> tuple[int, int] | None:
        """Kernel and stride, if a plain pooling has the same windows."""
        if n is None:
            return None
        windows = self.windows(n, output_size)
        kernel, stride = windows[0][1], windows[1][0] if output_size > 1 else 1
        same = [(i * stride, i * stride + kernel) for i in range(output_size)]
        return (kernel, stride) if stride and windows == same else None

    def reduce(self, x: Array, reduction: Callable[..., Array]) -> Array:
        """For the reference: `reduction` of each window, one axis after the other."""
        for axis, output_size in zip((-2, -1), self.output_size, strict=True):
            x = np.stack(
                [
                    reduction(x.take(range(*bounds), axis), axis=axis)
                    for bounds in self.windows(x.shape[axis], output_size)
                ],
                axis=axis,
            )
        return x

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        if self.output_size == (1, 1):
            return self.whole(tf, x)
        sizes = at.inputs[0].shape[-2:]
        plain = [
            self.regular(n, output_size)
            for n, output_size in zip(sizes, self.output_size, strict=True)
        ]
        if plain[0] and plain[1]:
            kernel, stride = zip(*(each for each in plain if each), strict=True)
            if at.inputs[0].rank == 4:
                return self.pool(tf, x, kernel, stride)
            return tf.squeeze(self.pool(tf, tf.expand_dims(x, 0), kernel, stride), 0)
        for axis, output_size in zip(
            (len(x.shape) - 3, len(x.shape) - 2), self.output_size, strict=True
        ):
            n, i = size(tf, x, axis), tf.cast(tf.range(output_size), tf.float32)
            whole, parts = tf.cast(n, tf.float32), float(output_size)
            start = tf.floor(tf.multiply(tf.divide(i, parts), whole))
            end = tf.math.ceil(tf.multiply(tf.divide(tf.add(i, 1.0), parts), whole))
            start = tf.expand_dims(tf.cast(start, tf.int32), 1)
            end = tf.expand_dims(tf.cast(end, tf.int32), 1)
            x = self.along(tf, x, axis, n, start, end)
        return x

    @abc.abstractmethod
    def whole(self, tf: Any, x: Any) -> Any:
        """One window that is the whole image."""

    @abc.abstractmethod
    def pool(self, tf: Any, x: Any, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Any:
        """A plain pooling of a batch."""

    @abc.abstractmethod
    def along(self, tf: Any, x: Any, axis: int, n: Any, start: Any, end: Any) -> Any:
        """Windows from `start` to `end` (columns of integers) along a stored axis of n elements."""


@register("nn.SpatialAdaptiveMaxPooling")
class SpatialAdaptiveMaxPooling(AdaptivePooling):
    """Maximum of each of H × W windows, NaN left out."""

    def reference(self, x: Array) -> Array:
        return self.reduce(passing_over_nan(x), np.max)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return super().apply(tf, without_nan(tf, x, self.nan), at=at)

    def whole(self, tf: Any, x: Any) -> Any:
        return tf.reduce_max(x, axis=[-3, -2], keepdims=True)

    def pool(self, tf: Any, x: Any, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Any:
        return tf.nn.max_pool2d(x, kernel, stride, "VALID")

    def along(self, tf: Any, x: Any, axis: int, n: Any, start: Any, end: Any) -> Any:
        # Shorter windows see their last element several times.
        longest = tf.reduce_max(tf.subtract(end, start))
        places = tf.minimum(tf.add(start, tf.range(longest)), tf.subtract(end, 1))
        return tf.reduce_max(tf.gather(x, places, axis=axis), axis=axis + 1)


@register("nn.SpatialAdaptiveAveragePooling")
class SpatialAdaptiveAveragePooling(AdaptivePooling):
    """Average of each of H × W windows."""

    def reference(self, x: Array) -> Array:
        return self.reduce(x, np.mean)

    def whole(self, tf: Any, x: Any) -> Any:
        return tf.reduce_mean(x, axis=[-3, -2], keepdims=True)

    def pool(self, tf: Any, x: Any, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Any:
        return tf.nn.avg_pool2d(x, kernel, stride, "VALID")

    def along(self, tf: Any, x: Any, axis: int, n: Any, start: Any, end: Any) -> Any:
        if self.nan:
            # A product with a weight of zero would spoil the windows beside.
            return self.along_counted(tf, x, axis, start, end)
        place = tf.range(n)
        inside = tf.logical_and(tf.greater_equal(place, start), tf.less(place, end))
        weights = tf.divide(tf.cast(inside, x.dtype), tf.cast(tf.subtract(end, start), x.dtype))
        rows = axis == len(x.shape) - 3
        return tf.einsum("oh,...hwc->...owc" if rows else "ow,...hwc->...hoc", weights, x)

    def along_counted(self, tf: Any, x: Any, axis: int, start: Any, end: Any) -> Any:
        """The same element by element of the windows."""
        offsets = tf.range(tf.reduce_max(tf.subtract(end, start)))
        places = tf.add(start, offsets)
        elements = tf.gather(x, tf.minimum(places, tf.subtract(end, 1)), axis=axis)
        shape = [
            -1 if i == axis else size(tf, elements, i) if i == axis + 1 else 1
            for i in range(len(x.shape) + 1)
        ]
        inside = tf.reshape(tf.less(places, end), shape)
        total = tf.reduce_sum(tf.where(inside, elements, tf.zeros_like(elements)), axis=axis + 1)
        counts = tf.reshape(
            tf.cast(tf.subtract(end, start), x.dtype), [-1] + [1] * (len(x.shape) - axis - 1)
        )
        return tf.divide(total, counts)
