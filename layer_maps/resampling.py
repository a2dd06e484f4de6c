"""nnx's resampling of images to any size.

Source: clementfarabet/lua---nnx SpatialReSampling.lua, SpatialReSamplingEx.lua,
generic/SpatialReSampling.c, generic/SpatialReSamplingEx.c.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from porter.layer_maps.upsampling import interpolated
from porter.maps import (
    Accepts,
    Array,
    BadField,
    BySample,
    LayerMap,
    OpContext,
    Shape,
    integer,
    optional_number,
    register,
    size,
    string,
)


class ReSampling(LayerMap, BySample):
    """Two neighbouring axes in another size: `oheight` × `owidth`, or by the ratios of both."""

    height = optional_number("oheight")
    width = optional_number("owidth")
    height_ratio = optional_number("rheight")
    width_ratio = optional_number("rwidth")
    accepts = Accepts.ANY_ORDER
    rounding: ClassVar[float] = 0.0
    """What is added to a size before its fraction is cut off."""

    def checked(self) -> LayerMap:
        for name, fixed, ratio in self.by_axis():
            if fixed is None and ratio is None:
                raise BadField(f"{self.typename} has neither 'o{name}' nor 'r{name}'")
        return self

    def by_axis(self) -> tuple[tuple[str, float | None, float | None], ...]:
        """Name, size and ratio of both axes."""
        return (
            ("height", self.height, self.height_ratio),
            ("width", self.width, self.width_ratio),
        )

    def resized(self, n: int, axis: int) -> int:
        """The output's size along the first or second axis, of n elements."""
        _, fixed, ratio = self.by_axis()[axis]
        return int(fixed) if fixed is not None else math.floor((ratio or 0.0) * n + self.rounding)

    def tensor_size(self, tf: Any, n: Any, axis: int) -> Any:
        """The same for a size that may be known only when the graph runs."""
        _, fixed, ratio = self.by_axis()[axis]
        if fixed is not None or isinstance(n, int):
            return self.resized(n, axis)
        exact = tf.add(tf.multiply(tf.cast(n, tf.float64), ratio), self.rounding)
        return tf.cast(tf.floor(exact), tf.int32)


def interpolate(x: Array, axis: int, extent: int) -> Array:
    """`extent` elements evenly spaced from the first to the last along an axis.

    Places are single precision, whatever the tensors are.
    """
    n = x.shape[axis]
    rate = np.float32(n - 1) / np.float32(extent - 1)
    parts = []
    for i in range(extent):
        place = rate * np.float32(i)
        before = min(math.floor(place), n - 1)
        share = x.dtype.type(place - np.float32(before))
        behind = x.take(min(before + 1, n - 1), axis)
        parts.append((1 - share) * x.take(before, axis) + share * behind)
    return np.stack(parts, axis=axis)


@register("nn.SpatialReSampling")
class SpatialReSampling(ReSampling):
    """Linear interpolation of N×C×H×W or C×H×W; corners stay corners.

    A size given by a ratio is truncated to an integer; Torch reuses that of its first input for
    all others, so files hold it.
    """

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) in (3, 4), "takes N×C×H×W or C×H×W", x)
        output = tuple(self.resized(n, axis) for axis, n in enumerate(x[-2:]))
        self.require(min(output) > 1, f"makes {output}: at least 2×2", x)
        return (*x[:-2], *output)

    def is_by_sample(self) -> bool:
        return True

    def reference(self, x: Array) -> Array:
        *_, height, width = self.output_shape(x.shape)
        return interpolate(interpolate(x, -2, height), -1, width)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        for axis in range(2):
            stored = at.axis(axis - 2)
            x = interpolated(tf, x, stored, self.tensor_size(tf, size(tf, x, stored), axis))
        return x


@register("nn.SpatialReSamplingEx")
class SpatialReSamplingEx(ReSampling):
    """`mode` "bilinear", "simple" or "average", along dimensions `yDim` and `xDim` = `yDim` + 1.

    Bilinear keeps the corners. The others work with whole numbers: enlarging n elements to m
    repeats each ⌈m / n⌉ times, until there are enough; reducing picks the first of every ⌊n / m⌋
    elements ("simple"), or averages them.
    """

    mode = string("mode", "simple")
    row_dimension = integer("yDim", 2)
    rounding = 0.5

    def checked(self) -> LayerMap:
        if self.mode not in ("bilinear", "simple", "average"):
            raise BadField(f"'mode' of {self.typename} is none of its modes", received=self.mode)
        return super().checked()

    @property
    def first_axis(self) -> int:
        return self.row_dimension - 1

    def output_shape(self, x: Shape) -> Shape:
        first = self.first_axis
        self.require(0 <= first < len(x) - 1, f"resamples dimension {self.row_dimension}", x)
        extents = x[first : first + 2]
        output = tuple(self.resized(n, axis) for axis, n in enumerate(extents))
        larger = [new >= n for new, n in zip(output, extents, strict=True)]
        self.require(larger[0] == larger[1], f"makes {output}: larger and smaller at once", x)
        least = 2 if self.mode == "bilinear" else 1
        self.require(min(output) >= least, f"makes {output}: at least {least} each", x)
        return (*x[:first], *output, *x[first + 2 :])

    def is_by_sample(self) -> bool:
        return self.first_axis > 0

    def reference(self, x: Array) -> Array:
        extents = self.output_shape(x.shape)
        for axis in (self.first_axis, self.first_axis + 1):
            n, extent = x.shape[axis], extents[axis]
            if self.mode == "bilinear":
                x = interpolate(x, axis, extent)
            elif extent >= n:
                times = -(-extent // n)
                x = x.take([i // times for i in range(extent)], axis)
            else:
                step = n // extent
                count = step if self.mode == "average" else 1
                groups = [x.take(range(i * step, i * step + count), axis) for i in range(extent)]
                x = np.stack([group.mean(axis=axis) for group in groups], axis=axis)
        return x

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        for number in range(2):
            axis = at.axis(self.first_axis + number)
            n = size(tf, x, axis)
            extent = self.tensor_size(tf, n, number)
            if self.mode == "bilinear":
                x = interpolated(tf, x, axis, extent)
                continue
            # One of the two is 1: how often an element is taken, and how many make up one.
            times = tf.math.floordiv(tf.subtract(tf.add(extent, n), 1), n)
            step = tf.maximum(tf.math.floordiv(n, extent), 1)
            places = tf.multiply(tf.math.floordiv(tf.range(extent), times), step)
            if self.mode == "simple":
                x = tf.gather(x, places, axis=axis)
            else:
                groups = tf.add(tf.expand_dims(places, 1), tf.range(step))
                x = tf.reduce_mean(tf.gather(x, groups, axis=axis), axis=axis + 1)
        return x
