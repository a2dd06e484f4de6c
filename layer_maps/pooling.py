"""Maximum and average over windows of an image, and the code shared with pooling of other ranks.

Source: torch/nn SpatialMaxPooling.lua, SpatialDilatedMaxPooling.lua, SpatialAveragePooling.lua;
THNN SpatialDilatedMaxPooling.c, SpatialAveragePooling.c; cudnn.torch Pooling.lua; imagine-nn
SpatialMaxPooling.lua, SpatialAveragePooling.lua.
"""

from __future__ import annotations

import abc
import functools
import math
from typing import Any

import numpy as np

from porter.layer_maps.windows import (
    LOWEST,
    Pads,
    SlidesOverImages,
    SlidingWindows,
    passing_over_nan,
    surround,
    taps,
    without_nan,
)
from porter.maps import (
    Array,
    BadField,
    Field,
    HasKerasLayer,
    LayerMap,
    OpContext,
    Options,
    Shape,
    TorchObject,
    flag,
    register,
    size,
)

MANY = 256
"""Numbers in a window that are averaged along its columns first, then along its rows."""


class MaxPooling(SlidingWindows, HasKerasLayer):
    """The largest element of each window; padding never wins.

    A window without any element of the image (ceil mode, stride > kernel) is the lowest number in
    single precision. THNN passes over NaN; with cuDNN it spoils its windows.
    """

    moves = True

    def reference(self, x: Array) -> Array:
        compared = x if self.is_cudnn else passing_over_nan(x)
        return self.reduce(compared, functools.partial(np.max, initial=LOWEST))

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        largest = super().apply(tf, without_nan(tf, x, self.nan), at=at)
        if not self.nan or not self.is_cudnn:
            return largest
        missing = tf.math.is_nan(x)
        spoilt = super().apply(tf, tf.cast(missing, at.dtype), at=at)
        return tf.where(tf.greater(spoilt, 0), tf.constant(np.nan, at.dtype), largest)

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        # Keras knows no padding that never wins, and no dilation.
        padded = any(map(any, self.pads(at.inputs[0])))
        unbatched = at.inputs[0].rank != self.spatial_rank + 2
        if padded or unbatched or max(self.dilation) > 1 or self.nan:
            return None
        return k(
            f"MaxPooling{self.spatial_rank}D",
            x,
            pool_size=self.kernel,
            strides=self.stride,
            data_format="channels_last",
        )

    def by_slices(self, tf: Any, x: Any, pads: Pads) -> Any:
        """Where TensorFlow has no kernel: the larger of strided slices, axis by axis."""
        x = surround(tf, x, pads, LOWEST)
        for axis, window in enumerate(zip(self.kernel, self.stride, self.dilation, strict=True)):
            x = functools.reduce(tf.maximum, taps(tf, x, axis + 1, *window))
        return x


class ImageMaxPooling(MaxPooling, SlidesOverImages):
    """Maximum over kH × kW elements, `dilation` apart, of N×C×H×W or C×H×W."""

    def pool(self, tf: Any, x: Any, pads: Pads, at: OpContext) -> Any:
        if max(self.dilation) > 1:
            return self.by_slices(tf, x, pads)
        # tf.nn.max_pool2d pads by itself, for nothing, but less than a window.
        if any(behind >= k for (_, behind), k in zip(pads, self.kernel, strict=True)):
            x, pads = surround(tf, x, pads, LOWEST), []
        padding = [[0, 0], *pads, [0, 0]] if any(map(any, pads)) else "VALID"
        return tf.nn.max_pool2d(x, self.kernel, self.stride, padding)


@register("nn.SpatialMaxPooling", "nn.SpatialDilatedMaxPooling")
class SpatialMaxPooling(ImageMaxPooling):
    """Maximum over windows of an image."""


@register("cudnn.SpatialMaxPooling")
class CudnnSpatialMaxPooling(ImageMaxPooling):
    """As nn.SpatialMaxPooling, but in ceil mode no window is dropped."""

    is_cudnn = True


@register("inn.SpatialMaxPooling")
class InnSpatialMaxPooling(ImageMaxPooling):
    """As nn.SpatialMaxPooling, always in ceil mode."""

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        return self.evolve(ceil=True)


class AveragePooling(SlidingWindows, HasKerasLayer):
    """The sum of each window, divided by its number of elements.

    With `count_include_pad` these are all of the window, padding included, but only up to the end
    of the padding; without, those of the image. cuDNN divides by the size of the kernel where
    padding counts. An empty window (ceil mode, stride > kernel) is 0/0.
    """

    count_pad = flag("count_include_pad", default=True)
    divide: bool | Field[bool] = True

    def divisor(self, shape: Shape) -> Array:
        """For the reference: elements counted of each window."""
        counts: Array = np.ones((), np.int64)
        for axis, n in enumerate(shape[-self.spatial_rank :]):
            starts = np.arange(self.count(n, axis)) * self.stride[axis] - self.pad[axis]
            ends = np.minimum(starts + self.kernel[axis], n + self.pad[axis])
            if not self.count_pad:
                starts, ends = np.maximum(starts, 0), np.minimum(ends, n)
            counts = counts[..., None] * (ends - starts)
        return counts

    def reference(self, x: Array) -> Array:
        total, area = self.reduce(x, np.sum), math.prod(self.kernel)
        full = self.is_cudnn and self.count_pad
        divisor: Array = np.asarray(area) if full else self.divisor(x.shape)
        mean: Array = total / divisor.astype(x.dtype)
        return mean if self.divide else mean * x.dtype.type(area)

    def pool(self, tf: Any, x: Any, pads: Pads, at: OpContext) -> Any:
        out = self.mean(tf, surround(tf, x, pads, 0), at)
        overhangs = any(behind > pad for (_, behind), pad in zip(pads, self.pad, strict=True))
        clipped = overhangs and not self.is_cudnn
        if any(map(any, pads)) and (clipped or not self.count_pad):
            out = tf.multiply(out, self.correction(tf, x, out, at))
        return out if self.divide else tf.multiply(out, float(math.prod(self.kernel)))

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        pads = self.pads(at.inputs[0])
        beyond = any(behind > pad for (_, behind), pad in zip(pads, self.pad, strict=True))
        exact = not any(map(any, pads)) or (self.count_pad and not beyond)
        if not exact or not self.divide or at.inputs[0].rank != self.spatial_rank + 2:
            return None
        return k(
            f"AveragePooling{self.spatial_rank}D",
            k.padded(x, pads),
            pool_size=self.kernel,
            strides=self.stride,
            data_format="channels_last",
        )

    @abc.abstractmethod
    def mean(self, tf: Any, x: Any, at: OpContext) -> Any:
        """Plain means of a padded batch."""

    def correction(self, tf: Any, x: Any, out: Any, at: OpContext) -> Any:
        """Size of the kernel over elements counted, for each window."""
        factors: list[Any] = []
        for axis, (kernel, stride, pad) in enumerate(
            zip(self.kernel, self.stride, self.pad, strict=True)
        ):
            n = size(tf, x, axis + 1)
            start = tf.subtract(tf.multiply(tf.range(size(tf, out, axis + 1)), stride), pad)
            end = tf.add(start, kernel)
            if self.count_pad:
                counted = tf.subtract(tf.minimum(end, tf.add(n, pad)), start)
            else:
                counted = tf.subtract(tf.minimum(end, n), tf.maximum(start, 0))
            factor = tf.divide(tf.cast(kernel, at.dtype), tf.cast(counted, at.dtype))
            factors.append(tf.reshape(factor, [-1] + [1] * (self.spatial_rank - axis)))
        return functools.reduce(tf.multiply, factors)


class ImageAveragePooling(AveragePooling, SlidesOverImages):
    """Average over kH × kW elements of N×C×H×W or C×H×W, or their sum without `divide`."""

    divide = flag("divide", default=True)

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        if self.divide:
            return self
        why = "false" if "divide" in module else "nil"
        return self.with_notes(f"sum pooling, since `divide` is {why}")

    def mean(self, tf: Any, x: Any, at: OpContext) -> Any:
        (height, width), (down, right) = self.kernel, self.stride
        if min(height, width) < 2 or height * width < MANY:
            return tf.nn.avg_pool2d(x, self.kernel, self.stride, "VALID")
        # TensorFlow adds one number after the other: fewer at a time are faster, and round less.
        rows = tf.nn.avg_pool2d(x, (height, 1), (down, 1), "VALID")
        return tf.nn.avg_pool2d(rows, (1, width), (1, right), "VALID")


@register("nn.SpatialAveragePooling")
class SpatialAveragePooling(ImageAveragePooling):
    """Average over windows of an image.

    Where `divide` is false or, in files older than that field, nil, it is the sum: the average
    times the size of the kernel. Old files lack padding and ceil mode too.
    """

    divide = flag("divide")


@register("cudnn.SpatialAveragePooling")
class CudnnSpatialAveragePooling(ImageAveragePooling):
    """As nn.SpatialAveragePooling with cuDNN's rules for ceil mode and padding."""

    is_cudnn = True

    def checked(self) -> LayerMap:
        if not self.divide:
            raise BadField(f"{self.typename} cannot make sums", received="`divide` is false")
        return self


@register("inn.SpatialAveragePooling")
class InnSpatialAveragePooling(ImageAveragePooling):
    """As nn.SpatialAveragePooling, always in ceil mode; old files without `divide` averaged."""

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        return super().adapt(module, options).evolve(ceil=True)
