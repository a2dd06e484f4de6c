"""Normalisation over a neighbourhood: of planes (LRN), or of pixels (subtractive, divisive).

Source: torch/nn SpatialCrossMapLRN.lua, SpatialSubtractiveNormalization.lua,
SpatialDivisiveNormalization.lua, SpatialContrastiveNormalization.lua; cudnn.torch
SpatialCrossMapLRN.lua; imagine-nn SpatialCrossResponseNormalization.lua,
SpatialSameResponseNormalization.lua and LocalResponseNormalization.lua.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from porter.layer_maps.containers import sequential
from porter.maps import (
    POINTWISE,
    Accepts,
    Array,
    BadField,
    Field,
    HasReach,
    HintsInput,
    LayerMap,
    Nested,
    OpContext,
    Options,
    Param,
    Reach,
    Shape,
    TensorType,
    TorchObject,
    Value,
    Walk,
    integer,
    number,
    register,
    structure,
)

MAX_WINDOW = 255
"""Rows, columns or planes that a normalisation may look at; published nets stay below 20."""


@register(
    "nn.SpatialCrossMapLRN", "cudnn.SpatialCrossMapLRN", "inn.SpatialCrossResponseNormalization"
)
class SpatialCrossMapLRN(LayerMap, HasReach):
    """x / (k + alpha/size · sum of squares of `size` neighbouring planes)^beta.

    N×C×H×W or C×H×W. The window of plane c is clipped at the first and last plane; with an even
    size, which only the GPU kernels accept, the longer half follows c. Old files call k `K`.
    """

    window = integer("size", 5)
    alpha = number("alpha", 1e-4)
    beta = number("beta", 0.75)
    k = number("k", 1.0)
    accepts = Accepts.ANY_ORDER

    def reach(self, axis: int, inputs: Sequence[TensorType]) -> Reach:
        return POINTWISE

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        if "K" not in module:
            return self
        return self.evolve(k=module.number("K")).with_notes("k from the old field `K`")

    def checked(self) -> LayerMap:
        if not 1 <= self.window <= MAX_WINDOW:
            raise BadField(
                f"'size' of {self.typename} should be 1 to {MAX_WINDOW}",
                received=str(self.window),
            )
        return self

    @property
    def neighbours(self) -> tuple[int, int]:
        """The number of planes in the window before and after its own."""
        before = (self.window - 1) // 2
        return before, self.window - 1 - before

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) in (3, 4), "takes N×C×H×W or C×H×W", x)
        return x

    def reference(self, x: Array) -> Array:
        (before, behind), planes = self.neighbours, x.shape[-3]
        sums = np.empty_like(x)
        for plane in range(planes):
            near = x[..., max(plane - before, 0) : plane + behind + 1, :, :]
            sums[..., plane, :, :] = np.square(near).sum(axis=-3)
        if self.nan:
            for plane in range(before + 1, planes):
                left = np.square(x[..., plane - before - 1, :, :])
                sums[..., plane:, :, :] += (left - left)[..., None, :, :]
        out: Array = x * (self.k + self.alpha / self.window * sums) ** -self.beta
        return out

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        rank, planes = at.inputs[0].rank, at.axis(-3)
        padding = [list(self.neighbours) if axis == planes else [0, 0] for axis in range(rank)]
        squares = tf.pad(tf.square(x), padding)
        shifted = [
            tf.slice(squares, [i if axis == planes else 0 for axis in range(rank)], tf.shape(x))
            for i in range(self.window)
        ]
        sums = tf.add_n(shifted)
        if self.nan:
            sums = tf.add(sums, self.remains(tf, tf.square(x), planes))
        scale = tf.add(tf.multiply(sums, self.alpha / self.window), self.k)
        # Nearly every net has this beta, and two roots take a third of the time of tf.pow.
        if self.beta == 0.75:
            root = tf.math.rsqrt(scale)
            return tf.multiply(x, tf.multiply(root, tf.sqrt(root)))
        return tf.multiply(x, tf.pow(scale, -self.beta))

    def remains(self, tf: Any, squares: Any, axis: int) -> Any:
        """NaN behind a window that had NaN or infinity in it, else 0.

        Torch keeps a running sum, from which it subtracts each plane that a window leaves.
        """
        left = tf.math.cumsum(tf.subtract(squares, squares), axis=axis)
        before = self.neighbours[0] + 1
        pads = [[before, 0] if i == axis else [0, 0] for i in range(len(squares.shape))]
        return tf.slice(tf.pad(left, pads), [0] * len(pads), tf.shape(squares))


def averaging_kernel(estimator: TorchObject, owner: TorchObject) -> Array:
    """The kernel (C×H×W) of an estimator, in whose output all planes are summed.

    An estimator pads, convolves each plane with a 2-D kernel or with a row and then a column, sums
    the planes and repeats the sum for each. Old files do it with nn.SpatialConvolutionMap, one to
    one, and nn.Sum; newer ones sum in their last nn.SpatialConvolution.
    """
    planes = owner.integer("nInputPlane", 1)
    kernel: Array = np.ones((1, 1, 1))
    for child in estimator.list("modules"):
        if not isinstance(child, TorchObject) or not child.typename.startswith(
            "nn.SpatialConvolution"
        ):
            continue
        size = (planes, child.integer("kH"), child.integer("kW"))
        weight = child.tensor("weight").array
        if min(size) < 1 or weight.size != math.prod(size) or np.any(child.tensor("bias").array):
            raise BadField(
                f"an estimator of {owner.typename} should convolve {planes} planes one by one, "
                "without bias",
                received=f"{child.typename} with a weight of {'×'.join(map(str, weight.shape))}",
            )
        extents = [have + more - 1 for have, more in zip(kernel.shape[1:], size[1:], strict=True)]
        if max(extents) > MAX_WINDOW:
            raise BadField(
                f"the kernel of {owner.typename} has more than {MAX_WINDOW} rows or columns",
                received="×".join(map(str, extents)),
            )
        kernel = composed(kernel, weight.reshape(size).astype(np.float64))
    if kernel.shape[0] != planes:
        raise BadField(f"an estimator of {owner.typename} should convolve {planes} planes")
    if kernel.shape[1] % 2 == 0 or kernel.shape[2] % 2 == 0:
        raise BadField(
            f"the kernel of {owner.typename} should have odd sizes",
            received="×".join(map(str, kernel.shape[1:])),
        )
    return kernel


def composed(first: Array, second: Array) -> Array:
    """The kernel of two correlations one after the other: their full convolution, by plane."""
    _, height, width = first.shape
    planes, down, right = second.shape
    both = np.zeros((planes, height + down - 1, width + right - 1))
    for y, x in np.ndindex(down, right):
        both[:, y : y + height, x : x + width] += first * second[:, y, x, None, None]
    return both


def estimator_kernel(lua_name: str) -> Field[Param]:
    """The kernel of the estimator in a Lua field, as a parameter that is not trained."""

    def read(module: TorchObject) -> Param:
        kernel = averaging_kernel(module.object(lua_name), module)
        return Param.constant(f"{lua_name}.kernel", kernel[None], "OCHW", "HWCO")

    return Field(read)


class Neighbourhood(LayerMap, HintsInput):
    """A weighted mean over the pixels around each pixel and over all planes.

    Zeros beyond the border count in neither the sum nor the weights: sums are divided by the
    same kernel's response to ones. N×C×H×W or C×H×W; the kernel has odd sizes.
    """

    mean_kernel = estimator_kernel("meanestimator")
    accepts = Accepts.CHANNELS_LAST

    def output_shape(self, x: Shape) -> Shape:
        planes = self.mean_kernel.shape[1]
        self.require(len(x) in (3, 4), "takes N×C×H×W or C×H×W", x)
        self.require(x[-3] == planes, f"takes {planes} feature planes", x)
        return x

    def reference_sums(self, x: Array, kernel: Param) -> Array:
        """…×C×H×W to …×1×H×W."""
        weights = kernel.array[0].astype(x.dtype)
        _, height, width = weights.shape
        border = [(0, 0)] * (x.ndim - 2) + [(height // 2,) * 2, (width // 2,) * 2]
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(x, border), (height, width), axis=(-2, -1)
        )
        out: Array = np.einsum("...cyxhw,chw->...yx", windows, weights)[..., None, :, :]
        return out

    def sums(self, tf: Any, x: Any, kernel: Param, at: OpContext) -> Any:
        """N×H×W×C to N×H×W×1."""
        _, _, height, width = kernel.shape
        return tf.nn.conv2d(
            x,
            at.variable(kernel),
            strides=[1, 1, 1, 1],
            padding=[[0, 0], [height // 2] * 2, [width // 2] * 2, [0, 0]],
        )

    def weights(self, tf: Any, x: Any, at: OpContext) -> Any:
        """The kernel's response to ones: 1×H×W×1."""
        one = tf.slice(x, [0, 0, 0, 0], [1, -1, -1, -1])
        return self.sums(tf, tf.ones_like(one), self.mean_kernel, at)

    def input_hint(self) -> TensorType:
        return TensorType((None, self.mean_kernel.shape[1], None, None))


@register("nn.SpatialSubtractiveNormalization")
class SpatialSubtractiveNormalization(Neighbourhood):
    """x minus the weighted mean of its neighbourhood over all planes."""

    def reference(self, x: Array) -> Array:
        weights = self.reference_sums(np.ones_like(x), self.mean_kernel)
        return x - self.reference_sums(x, self.mean_kernel) / weights

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        batched = x if at.inputs[0].rank == 4 else tf.expand_dims(x, 0)
        sums = self.sums(tf, batched, self.mean_kernel, at)
        out = tf.subtract(batched, tf.divide(sums, self.weights(tf, batched, at)))
        return out if at.inputs[0].rank == 4 else tf.squeeze(out, 0)


@register("nn.SpatialDivisiveNormalization")
class SpatialDivisiveNormalization(Neighbourhood):
    """x / d, where d = sqrt(weighted sum of squares) / weights, or `value` where d is too small.

    d must exceed `threshold`. The root is taken before the division by the kernel's response to
    ones, as in Torch.
    """

    std_kernel = estimator_kernel("stdestimator")
    threshold = number("threshold", 1e-4)
    value = number("thresval", 1e-4)

    def reference(self, x: Array) -> Array:
        weights = self.reference_sums(np.ones_like(x), self.mean_kernel)
        deviation = np.sqrt(self.reference_sums(x * x, self.std_kernel)) / weights
        return x / np.where(deviation > self.threshold, deviation, x.dtype.type(self.value))

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        batched = x if at.inputs[0].rank == 4 else tf.expand_dims(x, 0)
        root = tf.sqrt(self.sums(tf, tf.square(batched), self.std_kernel, at))
        deviation = tf.divide(root, self.weights(tf, batched, at))
        small = tf.fill(tf.shape(deviation), tf.constant(self.value, at.dtype))
        divisor = tf.where(tf.greater(deviation, self.threshold), deviation, small)
        out = tf.divide(batched, divisor)
        return out if at.inputs[0].rank == 4 else tf.squeeze(out, 0)


@structure("nn.SpatialContrastiveNormalization")
def contrastive(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """Subtractive, then divisive normalisation: the container in `normalizer`."""
    return walk(module.object("normalizer"), x, at="normalizer")


@structure("inn.SpatialSameResponseNormalization", "inn.LocalResponseNormalization")
def same_response(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """x / (1 + alpha · mean of squares over a square of pixels)^beta, built from modules.

    The class was a container, or stored its container in `modules` or `_modules`.
    """
    for name in ("_modules", "modules"):
        if isinstance(module.get(name), TorchObject):
            return walk(module.object(name), x, at=name)
    return sequential(walk, module, x)
