"""Smooth and bounded transfer functions, and those that shrink towards zero.

Source: torch/nn Tanh.lua, Sigmoid.lua, HardTanh.lua, Clamp.lua, SoftPlus.lua, HardShrink.lua,
GatedLinearUnit.lua and kin, THNN's C files of the same names; cudnn.torch Pointwise.lua; dpnn
Clip.lua; waifu2x InplaceClip01.lua.
"""

from __future__ import annotations

import abc
from typing import Any

import numpy as np

from porter.layer_maps.gradients import with_gradient_of
from porter.maps import (
    Accepts,
    Array,
    HasKerasLayer,
    LayerMap,
    OpContext,
    Options,
    Shape,
    TorchObject,
    flag,
    number,
    optional_integer,
    register,
)


class Sigmoidal(LayerMap):
    """Only the cudnn classes work in place: nn's ignore the field that a conversion leaves."""

    inplace = flag("inplace")
    accepts = Accepts.ELEMENTWISE

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        return self if module.typename.startswith("cudnn.") else self.evolve(inplace=False)


@register("nn.Tanh", "cudnn.Tanh")
class Tanh(Sigmoidal, HasKerasLayer):
    """tanh(x)."""

    applies_tanh = True

    def reference(self, x: Array) -> Array:
        return np.tanh(x)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.tanh(x)

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        return k("Activation", x, activation="tanh")


@register("nn.Sigmoid", "cudnn.Sigmoid")
class Sigmoid(Sigmoidal, HasKerasLayer):
    """1 / (1 + exp(−x))."""

    def reference(self, x: Array) -> Array:
        return 1 / (1 + np.exp(-x))

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.sigmoid(x)

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        return k("Activation", x, activation="sigmoid")


@register("nn.LogSigmoid")
class LogSigmoid(LayerMap, HasKerasLayer):
    """log(1 / (1 + exp(−x))), computed without overflow."""

    accepts = Accepts.ELEMENTWISE

    def reference(self, x: Array) -> Array:
        return -np.logaddexp(0, -x)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.math.log_sigmoid(x)

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        return k("Activation", x, activation="log_sigmoid")


@register("nn.SoftPlus")
class SoftPlus(LayerMap):
    """log(1 + exp(beta · x)) / beta, and x where beta · x > threshold (20)."""

    beta = number("beta", 1.0)
    threshold = number("threshold", 20.0)
    accepts = Accepts.ELEMENTWISE

    def reference(self, x: Array) -> Array:
        scaled = x * self.beta
        return np.where(scaled > self.threshold, x, np.logaddexp(0, scaled) / self.beta)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        scaled = tf.multiply(x, self.beta)
        soft = tf.divide(tf.nn.softplus(scaled), self.beta)
        return tf.where(tf.greater(scaled, self.threshold), x, soft)


@register("nn.SoftSign")
class SoftSign(LayerMap, HasKerasLayer):
    """x / (1 + |x|)."""

    accepts = Accepts.ELEMENTWISE

    def reference(self, x: Array) -> Array:
        squashed: Array = x / (1 + np.abs(x))
        return squashed

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.nn.softsign(x)

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        return k("Activation", x, activation="softsign")


@register("nn.TanhShrink")
class TanhShrink(LayerMap):
    """x − tanh(x)."""

    accepts = Accepts.ELEMENTWISE

    def reference(self, x: Array) -> Array:
        return x - np.tanh(x)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.subtract(x, tf.tanh(x))


@register("nn.HardShrink")
class HardShrink(LayerMap):
    """x where |x| > lambda, else 0 (also for NaN)."""

    width = number("lambda", 0.5)
    accepts = Accepts.ELEMENTWISE

    def reference(self, x: Array) -> Array:
        return np.where((x > self.width) | (x < -self.width), x, 0)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        outside = tf.logical_or(tf.greater(x, self.width), tf.less(x, -self.width))
        return tf.where(outside, x, tf.constant(0, at.dtype))


@register("nn.SoftShrink")
class SoftShrink(LayerMap):
    """x − lambda where x > lambda, x + lambda where x < −lambda, else 0 (also for NaN)."""

    width = number("lambda", 0.5)
    accepts = Accepts.ELEMENTWISE

    def reference(self, x: Array) -> Array:
        return np.where(
            x > self.width, x - self.width, np.where(x < -self.width, x + self.width, 0)
        )

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        below = tf.where(tf.less(x, -self.width), tf.add(x, self.width), tf.constant(0, at.dtype))
        return tf.where(tf.greater(x, self.width), tf.subtract(x, self.width), below)


class Clamping(LayerMap):
    """min(max(x, lower), upper).

    THNN HardTanh.c makes NaN the upper limit, but in place only where the tensor is a vector: that
    it runs through a second time.
    """

    accepts = Accepts.ELEMENTWISE

    @property
    @abc.abstractmethod
    def limits(self) -> tuple[float, float]: ...

    def keeps_nan(self, rank: int) -> bool:
        return bool(self.inplace) and rank > 1

    def reference(self, x: Array) -> Array:
        lower, upper = self.limits
        above = x > upper if self.keeps_nan(x.ndim) else ~(x <= upper)
        return np.where(x < lower, lower, np.where(above, upper, x))

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        lower, upper = (tf.constant(limit, at.dtype) for limit in self.limits)
        if self.keeps_nan(at.inputs[0].rank):
            capped = tf.where(tf.greater(x, upper), upper, x)
        else:
            capped = tf.where(tf.less_equal(x, upper), x, upper)
        return tf.where(tf.less(x, lower), lower, capped)

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        # At a limit itself Torch lets no gradient through.
        lower, upper = (tf.constant(limit, at.dtype) for limit in self.limits)
        inside = tf.logical_and(tf.greater(x, lower), tf.less(x, upper))
        return tf.where(inside, x, tf.stop_gradient(self.apply(tf, x, at=at)))


@register("nn.HardTanh", "nn.Clamp")
class HardTanh(Clamping):
    """x clamped to `min_val` … `max_val`; old files without limits mean −1 … 1."""

    lower = number("min_val", -1.0)
    upper = number("max_val", 1.0)
    inplace = flag("inplace")

    @property
    def limits(self) -> tuple[float, float]:
        return self.lower, self.upper


@register("nn.ReLU6")
class ReLU6(Clamping):
    """x clamped to 0 … 6."""

    inplace = flag("inplace")

    @property
    def limits(self) -> tuple[float, float]:
        return 0.0, 6.0


@register("w2nn.InplaceClip01")
class InplaceClip01(Clamping):
    """x clamped to 0 … 1, always in place; by torch.clamp, so that NaN stays NaN."""

    inplace = True

    def keeps_nan(self, rank: int) -> bool:
        return True

    @property
    def limits(self) -> tuple[float, float]:
        return 0.0, 1.0


@register("nn.Clip")
class Clip(Clamping):
    """x clamped to `minval` … `maxval`, as dpnn does it: with masks, so that NaN stays NaN."""

    lower = number("minval")
    upper = number("maxval")

    @property
    def limits(self) -> tuple[float, float]:
        return self.lower, self.upper

    def keeps_nan(self, rank: int) -> bool:
        return True

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        """Clamped, with the gradient of an identity."""
        return with_gradient_of(tf, self.apply(tf, x, at=at), x)


@register("nn.GatedLinearUnit")
class GatedLinearUnit(LayerMap):
    """a · sigmoid(b), where a and b are the halves of x along `dim` (by default the last)."""

    dimension = optional_integer("dim")
    accepts = Accepts.ANY_ORDER

    def halved_axis(self, rank: int) -> int:
        return (rank if self.dimension is None else self.dimension) - 1

    def output_shape(self, x: Shape) -> Shape:
        axis = self.halved_axis(len(x))
        self.require(0 <= axis < len(x), f"halves dimension {axis + 1}", x)
        self.require(x[axis] % 2 == 0, f"takes an even size in dimension {axis + 1}", x)
        return (*x[:axis], x[axis] // 2, *x[axis + 1 :])

    def reference(self, x: Array) -> Array:
        value, gate = np.split(x, 2, axis=self.halved_axis(x.ndim))
        gated: Array = value / (1 + np.exp(-gate))
        return gated

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        axis = at.axis(self.halved_axis(at.inputs[0].rank))
        value, gate = tf.split(x, 2, axis=axis)
        return tf.multiply(value, tf.sigmoid(gate))
