"""Shared by pooling layers: windows that slide over padded axes, and their shape rules.

Source: THNN SpatialDilatedMaxPooling.c, SpatialAveragePooling.c; cudnn.torch Pooling.lua.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from porter.maps import (
    Accepts,
    Array,
    Field,
    HasReach,
    LayerMap,
    OpContext,
    Reach,
    Shape,
    TensorType,
    flag,
    integers,
)

MAX_PADDED = 2**28
"""Elements of an input with its padding, which no shape tells: a gigabyte."""
LOWEST = float(np.finfo(np.float32).min)
"""What THNN starts a maximum from: padding with it never wins."""
Pads = list[list[int]]
"""Elements to add before and behind each spatial axis."""


def passing_over_nan(x: Array) -> Array:
    """For the reference: an array in which THNN finds the same maxima, and NumPy no NaN.

    No comparison with NaN holds, and a maximum starts from the lowest number.
    """
    return np.where(x > LOWEST, x, LOWEST)


def without_nan(tf: Any, x: Any, nan: bool) -> Any:
    """The same in TensorFlow, where NaN may come."""
    return tf.where(tf.greater(x, LOWEST), x, tf.constant(LOWEST, x.dtype)) if nan else x


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


class SlidesOverImages(HasReach):
    """The reach of windows over N×C×H×W."""

    kernel: Field[tuple[int, ...]]
    stride: Field[tuple[int, ...]]
    pad: Field[tuple[int, ...]]
    dilation: tuple[int, ...] | Field[tuple[int, ...]]

    def reach(self, axis: int, inputs: Sequence[TensorType]) -> Reach:
        kernel, stride, pad, dilation = (
            sizes[axis - 2] for sizes in (self.kernel, self.stride, self.pad, self.dilation)
        )
        return Reach.window(dilation * (kernel - 1) + 1, stride, pad)


class SlidingWindows(LayerMap):
    """Windows that slide over the spatial axes, axis by axis: all that poolings have in common.

    Along an axis of n elements there are ⌊(n + 2·pad - window) / stride⌋ + 1 of them, or ⌈…⌉ + 1 in
    ceil mode. THNN then drops a last one that starts outside the padded image, but only if there is
    padding along any axis; cuDNN never does. Batched or not.
    """

    kernel: Field[tuple[int, ...]] = integers("kH", "kW", cut=True)
    stride: Field[tuple[int, ...]] = integers("dH", "dW", cut=True)
    pad: Field[tuple[int, ...]] = integers("padH", "padW", default=0, cut=True)
    dilation: Field[tuple[int, ...]] = integers("dilationH", "dilationW", default=1, cut=True)
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
        windows = (-(-span // stride) if self.ceil else span // stride) + 1
        if not self.is_cudnn and any(self.pad) and (windows - 1) * stride >= n + pad:
            windows -= 1
        return windows

    def pads(self, image: TensorType) -> Pads:
        """The padding with which TensorFlow's "VALID" gives as many windows."""
        sizes = image.shape[-self.spatial_rank :]
        return [[self.pad[axis], self.behind(n, axis)] for axis, n in enumerate(sizes)]

    def behind(self, n: int | None, axis: int) -> int:
        """Padding after the last element of a spatial axis of any size."""
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
        self.require(whole <= MAX_PADDED, f"pads its input to {whole:,} elements", x)
        windows = tuple(self.count(n, axis) for axis, n in enumerate(x[-rank:]))
        self.require(min(windows) > 0, f"has a kernel of {self.kernel}, larger than its input", x)
        return (*x[:-rank], *windows)

    def elements(self, n: int, axis: int) -> list[range]:
        """For the reference: the elements of the image in each window."""
        dilation, ranges = self.dilation[axis], []
        for i in range(self.count(n, axis)):
            start = i * self.stride[axis] - self.pad[axis]
            end = min(start + self.window(axis), n)
            if start < 0:
                start %= dilation
            ranges.append(range(start, end, dilation))
        return ranges

    def reduce(self, x: Array, reduction: Callable[..., Array]) -> Array:
        """For the reference: `reduction` of each window, one axis after the other."""
        for axis in range(self.spatial_rank):
            place = x.ndim - self.spatial_rank + axis
            windows = [
                reduction(x.take(list(ranges), place), axis=place)
                for ranges in self.elements(x.shape[place], axis)
            ]
            x = np.stack(windows, axis=place)
        return x

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        pads = self.pads(at.inputs[0])
        if at.inputs[0].rank == self.spatial_rank + 2:
            return self.pool(tf, x, pads, at)
        return tf.squeeze(self.pool(tf, tf.expand_dims(x, 0), pads, at), 0)

    @abc.abstractmethod
    def pool(self, tf: Any, x: Any, pads: Pads, at: OpContext) -> Any:
        """The layer on a batch."""
