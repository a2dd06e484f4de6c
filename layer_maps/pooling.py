"""Maximum and average over windows of an image, and what poolings of other ranks share with them.

Source: torch/nn SpatialMaxPooling.lua, SpatialDilatedMaxPooling.lua, SpatialAveragePooling.lua;
THNN SpatialDilatedMaxPooling.c, SpatialAveragePooling.c; cudnn.torch Pooling.lua; imagine-nn
SpatialMaxPooling.lua, SpatialAveragePooling.lua.
"""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from porter.errors import BadField
from porter.fields import Array, Field, flag, integers
from porter.graph import Shape, TensorType
from porter.layer import Accepts, LayerMap
from porter.layout import Site, size
from porter.options import Options
from porter.reader import TorchObject
from porter.registry import register

MOST_PADDED = 2**28
"""Elements of an input with its padding, which no shape tells: a gigabyte."""
LOWEST = float(np.finfo(np.float32).min)
"""What THNN starts a maximum from: padding with it never wins."""
Pads = list[list[int]]
"""Elements to add before and behind each spatial axis."""


def surround(tf: Any, x: Any, pads: Pads, value: Any) -> Any:
    """Padding around the spatial axes of a channels-last tensor."""
    if not any(map(any, pads)):
        return x
    leading = len(x.shape) - len(pads) - 1
    return tf.pad(x, [[0, 0]] * leading + pads + [[0, 0]], constant_values=value)


def taps(tf: Any, x: Any, axis: int, kernel: int, stride: int, dilation: int = 1) -> list[Any]:
    """Element t of every window along a stored axis, for each t < `kernel`: strided slices."""
    rank = len(x.shape)
    others = sum(1 << i for i in range(rank) if i != axis)
    found: list[Any] = []
    for tap in range(kernel):
        behind = dilation * (kernel - 1 - tap)
        found.append(
            tf.strided_slice(
                x,
                [dilation * tap if i == axis else 0 for i in range(rank)],
                [-behind if i == axis else 0 for i in range(rank)],
                [stride if i == axis else 1 for i in range(rank)],
                begin_mask=others,
                end_mask=others if behind else others | 1 << axis,
            )
        )
    return found


class Windows(LayerMap):
    """Windows that slide over the spatial axes, axis by axis: all that poolings have in common.

    Along an axis of n elements there are ⌊(n + 2·pad - window) / stride⌋ + 1 of them, or ⌈…⌉ + 1 in
    ceil mode. THNN then drops a last one that starts outside the padded image, but only if there is
    padding along any axis; cuDNN never does. Batched or not.
    """

    kernel: Field[tuple[int, ...]] = integers("kH", "kW")
    stride: Field[tuple[int, ...]] = integers("dH", "dW")
    pad: Field[tuple[int, ...]] = integers("padH", "padW", default=0)
    dilation: Field[tuple[int, ...]] = integers("dilationH", "dilationW", default=1)
    ceil = flag("ceil_mode")
    accepts = Accepts.CHANNELS_LAST
    is_cudnn: ClassVar[bool] = False

    def window(self, axis: int) -> int:
        """Elements from the first to the last of a window."""
        return self.dilation[axis] * (self.kernel[axis] - 1) + 1

    def count(self, n: int, axis: int) -> int:
        """How many windows there are along a spatial axis of n elements."""
        stride, pad = self.stride[axis], self.pad[axis]
        span = n + 2 * pad - self.window(axis)
        made = (-(-span // stride) if self.ceil else span // stride) + 1
        if not self.is_cudnn and any(self.pad) and (made - 1) * stride >= n + pad:
            made -= 1
        return made

    def pads(self, image: TensorType) -> Pads:
        """The padding with which TensorFlow's "VALID" makes as many windows."""
        sizes = image.shape[-self.spatial_rank :]
        return [[self.pad[axis], self.behind(n, axis)] for axis, n in enumerate(sizes)]

    def behind(self, n: int | None, axis: int) -> int:
        """Padding behind the last element of a spatial axis, which may have any size."""
        stride, pad, window = self.stride[axis], self.pad[axis], self.window(axis)
        if not self.ceil:
            return pad
        if n is not None:
            return max((self.count(n, axis) - 1) * stride + window - n - pad, 0)
        # ⌈a / s⌉ = ⌊(a + s - 1) / s⌋, so a stride less one makes the windows of ceil mode. With
        # less than a window behind the image, none starts where THNN would drop it.
        enough = pad + stride - 1
        return min(enough, window - 1) if any(self.pad) and not self.is_cudnn else enough

    def output_shape(self, x: Shape) -> Shape:
        rank = self.spatial_rank
        axes = "×".join("CTHW"[0] + "THW"[3 - rank :])
        self.require(len(x) in (rank + 1, rank + 2), f"takes N×{axes} or {axes}", x)
        self.require(
            min(self.kernel + self.stride + self.dilation) > 0,
            "needs a kernel, stride and dilation of at least 1",
            self.kernel,
            self.stride,
            self.dilation,
        )
        most = [k - 1 if self.is_cudnn else k // 2 for k in self.kernel]
        self.require(
            all(0 <= pad <= limit for pad, limit in zip(self.pad, most, strict=True)),
            "cannot pad by more than half its kernel",
            self.pad,
            self.kernel,
        )
        padded = [n + 2 * pad for n, pad in zip(x[-rank:], self.pad, strict=True)]
        whole = math.prod((*x[:-rank], *padded))
        self.require(whole <= MOST_PADDED, f"pads its input to {whole:,} elements", x)
        made = tuple(self.count(n, axis) for axis, n in enumerate(x[-rank:]))
        self.require(min(made) > 0, f"has a kernel of {self.kernel}, larger than its input", x)
        return (*x[:-rank], *made)

    def elements(self, n: int, axis: int) -> list[range]:
        """For the reference: the elements of the image that each window sees."""
        dilation, seen = self.dilation[axis], []
        for i in range(self.count(n, axis)):
            start = i * self.stride[axis] - self.pad[axis]
            end = min(start + self.window(axis), n)
            if start < 0:
                start %= dilation
            seen.append(range(start, end, dilation))
        return seen

    def reduce(self, x: Array, reduction: Callable[..., Array]) -> Array:
        """For the reference: `reduction` of each window, one axis after the other."""
        for axis in range(self.spatial_rank):
            place = x.ndim - self.spatial_rank + axis
            made = [
                reduction(x.take(list(seen), place), axis=place)
                for seen in self.elements(x.shape[place], axis)
            ]
            x = np.stack(made, axis=place)
        return x

    def apply(self, tf: Any, x: Any, at: Site) -> Any:
        pads = self.pads(at.inputs[0])
        if at.inputs[0].rank == self.spatial_rank + 2:
            return self.pool(tf, x, pads, at)
        return tf.squeeze(self.pool(tf, tf.expand_dims(x, 0), pads, at), 0)

    @abc.abstractmethod
    def pool(self, tf: Any, x: Any, pads: Pads, at: Site) -> Any:
        """The layer on a batch."""


class MaxPooling(Windows):
    """The largest element of each window; padding never wins.

    A window without any element of the image (ceil mode, stride > kernel) is the lowest number in
    single precision.
    """

    def reference(self, x: Array) -> Array:
        return self.reduce(x, functools.partial(np.max, initial=LOWEST))

    def keras(self, k: Any, x: Any, at: Site) -> Any:
        # Keras knows no padding that never wins, and no dilation.
        padded = any(map(any, self.pads(at.inputs[0])))
        unbatched = at.inputs[0].rank != self.spatial_rank + 2
        if padded or unbatched or max(self.dilation) > 1:
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


@register("nn.SpatialMaxPooling", "nn.SpatialDilatedMaxPooling")
class SpatialMaxPooling(MaxPooling):
    """Maximum over kH × kW elements, `dilation` apart, of N×C×H×W or C×H×W."""

    def pool(self, tf: Any, x: Any, pads: Pads, at: Site) -> Any:
        if max(self.dilation) > 1:
            return self.by_slices(tf, x, pads)
        # tf.nn.max_pool2d pads by itself, for nothing, but less than a window.
        if any(behind >= k for (_, behind), k in zip(pads, self.kernel, strict=True)):
            x, pads = surround(tf, x, pads, LOWEST), []
        padding = [[0, 0], *pads, [0, 0]] if any(map(any, pads)) else "VALID"
        return tf.nn.max_pool2d(x, self.kernel, self.stride, padding)


@register("cudnn.SpatialMaxPooling")
class CudnnSpatialMaxPooling(SpatialMaxPooling):
    """As nn.SpatialMaxPooling, but in ceil mode no window is dropped."""

    is_cudnn = True


@register("inn.SpatialMaxPooling")
class InnSpatialMaxPooling(SpatialMaxPooling):
    """As nn.SpatialMaxPooling, always in ceil mode."""

    def adapt(self, module: TorchObject, options: Options) -> None:
        self.__dict__["ceil"] = True


class AveragePooling(Windows):
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

    def pool(self, tf: Any, x: Any, pads: Pads, at: Site) -> Any:
        out = self.mean(tf, surround(tf, x, pads, 0), at)
        overhangs = any(behind > pad for (_, behind), pad in zip(pads, self.pad, strict=True))
        clipped = overhangs and not self.is_cudnn
        if any(map(any, pads)) and (clipped or not self.count_pad):
            out = tf.multiply(out, self.correction(tf, x, out, at))
        return out if self.divide else tf.multiply(out, float(math.prod(self.kernel)))

    def keras(self, k: Any, x: Any, at: Site) -> Any:
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
    def mean(self, tf: Any, x: Any, at: Site) -> Any:
        """Plain means of a padded batch."""

    def correction(self, tf: Any, x: Any, out: Any, at: Site) -> Any:
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


@register("nn.SpatialAveragePooling")
class SpatialAveragePooling(AveragePooling):
    """Average over kH × kW elements of N×C×H×W or C×H×W.

    Where `divide` is false or, in files older than that field, nil, it is the sum: the average
    times the size of the kernel. Old files lack padding and ceil mode too.
    """

    divide = flag("divide")

    def adapt(self, module: TorchObject, options: Options) -> None:
        if not self.divide:
            why = "false" if "divide" in module else "nil"
            self.notes += (f"sum pooling, since `divide` is {why}",)

    def mean(self, tf: Any, x: Any, at: Site) -> Any:
        return tf.nn.avg_pool2d(x, self.kernel, self.stride, "VALID")


@register("cudnn.SpatialAveragePooling")
class CudnnSpatialAveragePooling(SpatialAveragePooling):
    """As nn.SpatialAveragePooling with cuDNN's rules for ceil mode and padding."""

    divide = flag("divide", default=True)
    is_cudnn = True

    def adapt(self, module: TorchObject, options: Options) -> None:
        if not self.divide:
            raise BadField(f"{self.typename} cannot make sums", received="`divide` is false")


@register("inn.SpatialAveragePooling")
class InnSpatialAveragePooling(SpatialAveragePooling):
    """As nn.SpatialAveragePooling, always in ceil mode; old files without `divide` averaged."""

    divide = flag("divide", default=True)

    def adapt(self, module: TorchObject, options: Options) -> None:
        super().adapt(module, options)
        self.__dict__["ceil"] = True
