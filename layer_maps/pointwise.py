"""Mathematical functions of each element.

Source: torch/nn Abs.lua, Exp.lua, Log.lua, Sqrt.lua, Square.lua, Power.lua, MulConstant.lua; dpnn
and rnn SAdd.lua; torch7 TH THTensorMath.c (pow).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.maps import Accepts, Array, HasKerasLayer, LayerMap, OpContext, flag, number, register


@register("nn.Abs")
class Abs(LayerMap):
    """|x|."""

    accepts = Accepts.ELEMENTWISE

    def reference(self, x: Array) -> Array:
        return np.abs(x)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.abs(x)

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        # THNN Abs.c: at 0 the slope is 1.
        return tf.where(tf.greater_equal(x, tf.zeros_like(x)), x, tf.negative(x))


@register("nn.Exp")
class Exp(LayerMap):
    """exp(x)."""

    accepts = Accepts.ELEMENTWISE

    def reference(self, x: Array) -> Array:
        return np.exp(x)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.exp(x)


@register("nn.Log")
class Log(LayerMap):
    """Natural logarithm: −inf at 0, NaN below."""

    makes_nan = True
    accepts = Accepts.ELEMENTWISE

    def reference(self, x: Array) -> Array:
        return np.log(x)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.math.log(x)


@register("nn.Sqrt")
class Sqrt(LayerMap):
    """Square root, NaN below 0. The field `eps` is never read in the forward pass."""

    makes_nan = True
    accepts = Accepts.ELEMENTWISE

    def reference(self, x: Array) -> Array:
        return np.sqrt(x)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.sqrt(x)

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        # THNN Sqrt.c: at 0 there is no gradient, where the derivative is infinite.
        zero = tf.equal(x, tf.zeros_like(x))
        return tf.where(zero, tf.zeros_like(x), tf.sqrt(tf.where(zero, tf.ones_like(x), x)))


@register("nn.Square")
class Square(LayerMap):
    """x²."""

    accepts = Accepts.ELEMENTWISE

    def reference(self, x: Array) -> Array:
        return x * x

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.square(x)


@register("nn.Power")
class Power(LayerMap):
    """x to the power `pow`: NaN for negative x, unless `pow` is an integer.

    As in Torch, ±0.5 is a square root, which differs from a power at −inf.
    """

    exponent = number("pow")
    makes_nan = True
    accepts = Accepts.ELEMENTWISE

    def reference(self, x: Array) -> Array:
        if abs(self.exponent) == 0.5:
            root = np.sqrt(x)
            return root if self.exponent > 0 else 1 / root
        return np.power(x, self.exponent)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        match self.exponent:
            case 0.5:
                return tf.sqrt(x)
            case -0.5:
                return tf.math.rsqrt(x)
            case 1:
                return tf.identity(x)
            case 2:
                return tf.square(x)
            case -1:
                return tf.math.reciprocal(x)
        return tf.pow(x, self.exponent)


@register("nn.MulConstant")
class MulConstant(LayerMap, HasKerasLayer):
    """constant_scalar · x."""

    factor = number("constant_scalar")
    inplace = flag("inplace")
    accepts = Accepts.ELEMENTWISE

    def reference(self, x: Array) -> Array:
        return x * self.factor

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.multiply(x, self.factor)

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        return k("Rescaling", x, scale=self.factor)


@register("nn.SAdd")
class SAdd(LayerMap):
    """x + addend, or −(x + addend) with `negate`."""

    addend = number("addend")
    negate = flag("negate")
    accepts = Accepts.ELEMENTWISE

    def reference(self, x: Array) -> Array:
        out = x + self.addend
        return -out if self.negate else out

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        out = tf.add(x, self.addend)
        return tf.negative(out) if self.negate else out
