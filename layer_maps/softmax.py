"""Softmax and its relatives: exponentials that sum to one.

Source: torch/nn SoftMax.lua, LogSoftMax.lua, SoftMin.lua, SpatialSoftMax.lua; THNN SoftMax.c,
LogSoftMax.c; cudnn.torch SpatialSoftMax.lua, SoftMax.lua and kin; HieCoAttenVQA
misc/maskSoftmax.lua.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from porter.maps import (
    POINTWISE,
    Accepts,
    Array,
    BadField,
    BadTable,
    HasKerasLayer,
    HasReach,
    LayerMap,
    Nested,
    OpContext,
    Options,
    Reach,
    Shape,
    TensorType,
    TorchObject,
    Value,
    Walk,
    flag,
    number,
    register,
    string,
    structure,
)


def softmax(x: Array, axes: tuple[int, ...]) -> Array:
    """exp(x) / sum of exp(x) in NumPy; NaN where all elements are −inf, as in Torch."""
    powers = np.exp(x - x.max(axis=axes, keepdims=True))
    normalised: Array = powers / powers.sum(axis=axes, keepdims=True)
    return normalised


def log_softmax(x: Array, axes: tuple[int, ...]) -> Array:
    """x − log of the sum of exp(x) in NumPy."""
    shifted = x - x.max(axis=axes, keepdims=True)
    total = np.exp(shifted).sum(axis=axes, keepdims=True)
    logarithm: Array = shifted - np.log(total)
    return logarithm


def probabilities(tf: Any, x: Any, axis: int) -> Any:
    """Softmax along one stored axis.

    One NaN or +inf makes all results NaN in Torch; tf.nn.softmax on a CPU gives zeros elsewhere.
    """
    return tf.exp(tf.nn.log_softmax(x, axis=axis))


class OverFeatures(LayerMap):
    """Works over the feature axis: the first of F and C×H×W, the second of N×F and N×C×H×W."""

    accepts = Accepts.ELEMENTWISE  # permuted features give permuted results

    @staticmethod
    def feature_axis(rank: int) -> int:
        return 0 if rank in (1, 3) else 1

    def output_shape(self, x: Shape) -> Shape:
        self.require(1 <= len(x) <= 4, "takes F, N×F, C×H×W or N×C×H×W", x)
        return x


@register("nn.SoftMax", "nn.SpatialSoftMax")
class SoftMax(OverFeatures, HasKerasLayer):
    """exp(x) / sum of exp(x) over the features, at each place of an image by itself."""

    def reference(self, x: Array) -> Array:
        return softmax(x, (self.feature_axis(x.ndim),))

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return probabilities(tf, x, at.axis(self.feature_axis(at.inputs[0].rank)))

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        return k("Softmax", x, axis=at.axis(self.feature_axis(at.inputs[0].rank)))


@register("nn.LogSoftMax", "nn.SpatialLogSoftMax")
class LogSoftMax(OverFeatures, HasKerasLayer):
    """Logarithm of the softmax over the features."""

    def reference(self, x: Array) -> Array:
        return log_softmax(x, (self.feature_axis(x.ndim),))

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.nn.log_softmax(x, axis=at.axis(self.feature_axis(at.inputs[0].rank)))

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        rank = at.inputs[0].rank
        if at.axis(self.feature_axis(rank)) != rank - 1:
            return None
        return k("Activation", x, activation="log_softmax")


@structure("nn.maskSoftMax")
def masked_softmax(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """Softmax of {x, mask} over the features whose mask is 0; Torch overwrites the others in x."""
    data, mask = pair_of_tensors(module, x)
    filled = walk.run(FillWhereMasked(value=-9999999.0, inplace=True), data, mask)
    return walk.emit(SoftMax(), *filled)


def pair_of_tensors(module: TorchObject, x: Nested[Value]) -> tuple[Value, Value]:
    """The two tensors of a table."""
    if isinstance(x, list) and len(x) == 2:
        first, second = x
        if isinstance(first, Value) and isinstance(second, Value):
            return first, second
    raise BadTable(f"{module.typename} should be given a tensor and a mask")


class FillWhereMasked(LayerMap):
    """`value` where the mask is not 0, elsewhere x."""

    value = number("value")
    inplace = flag("inplace")

    def output_shape(self, x: Shape, mask: Shape) -> Shape:
        self.require(x == mask, "takes a mask as large as its tensor", x, mask)
        return x

    def reference(self, x: Array, mask: Array) -> Array:
        return np.where(mask != 0, x.dtype.type(self.value), x)

    def apply(self, tf: Any, x: Any, mask: Any, at: OpContext) -> Any:
        masked = tf.not_equal(mask, tf.zeros_like(mask))
        return tf.where(masked, tf.constant(self.value, at.dtype), x)


@register("nn.SoftMin")
class SoftMin(OverFeatures):
    """Softmax of −x over the features."""

    def reference(self, x: Array) -> Array:
        return softmax(-x, (self.feature_axis(x.ndim),))

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        axis = at.axis(self.feature_axis(at.inputs[0].rank))
        return probabilities(tf, tf.negative(x), axis)


@register(
    "cudnn.SoftMax",
    "cudnn.LogSoftMax",
    "cudnn.SpatialSoftMax",
    "cudnn.SpatialLogSoftMax",
    "cudnn.VolumetricSoftMax",
    "cudnn.VolumetricLogSoftMax",
)
class CudnnSoftMax(LayerMap, HasReach):
    """Softmax over the features, or (mode INSTANCE) over all features and positions of a sample.

    cudnn.SoftMax and cudnn.LogSoftMax are of mode INSTANCE, unlike their namesakes in nn. The
    algorithm selects softmax (ACCURATE, FAST) or its logarithm (LOG).
    """

    mode = string("mode", "")
    algorithm = string("algorithm", "")
    accepts = Accepts.ELEMENTWISE

    INSTANCE: ClassVar[str] = "CUDNN_SOFTMAX_MODE_INSTANCE"
    CHANNEL: ClassVar[str] = "CUDNN_SOFTMAX_MODE_CHANNEL"
    LOG: ClassVar[str] = "CUDNN_SOFTMAX_LOG"

    def reach(self, axis: int, inputs: Sequence[TensorType]) -> Reach | None:
        return POINTWISE if self.mode == self.CHANNEL else None

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        name = module.typename
        over_all = name in ("cudnn.SoftMax", "cudnn.LogSoftMax")
        mode = self.mode or (self.INSTANCE if over_all else self.CHANNEL)
        if mode not in (self.INSTANCE, self.CHANNEL):
            raise BadField(f"'mode' of {name} is no mode of cuDNN's softmax", received=mode)
        return self.evolve(
            mode=mode, algorithm=self.algorithm or (self.LOG if "Log" in name else "")
        )

    @property
    def spatial_axes(self) -> int:
        return 3 if "Volumetric" in self.typename else 2

    def output_shape(self, x: Shape) -> Shape:
        most = self.spatial_axes + 2
        ranks = (1, 2, most - 1, most)
        self.require(len(x) in ranks, f"takes {', '.join(map(str, ranks))} dimensions", x)
        return x

    def axes(self, rank: int) -> tuple[int, ...]:
        """0-based axes over which the exponentials sum to one."""
        first = 0 if rank in (1, self.spatial_axes + 1) else 1
        return tuple(range(first, rank)) if self.mode == self.INSTANCE else (first,)

    def reference(self, x: Array) -> Array:
        function = log_softmax if self.algorithm == self.LOG else softmax
        return function(x, self.axes(x.ndim))

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        axes = [at.axis(axis) for axis in self.axes(at.inputs[0].rank)]
        logarithm = self.algorithm == self.LOG
        if len(axes) == 1:
            if logarithm:
                return tf.nn.log_softmax(x, axis=axes[0])
            return probabilities(tf, x, axes[0])
        largest = tf.stop_gradient(tf.reduce_max(x, axis=axes, keepdims=True))
        shifted = tf.subtract(x, largest)
        powers = tf.exp(shifted)
        total = tf.reduce_sum(powers, axis=axes, keepdims=True)
        return tf.subtract(shifted, tf.math.log(total)) if logarithm else tf.divide(powers, total)
