"""fairseq's modules for convolutional sequence to sequence learning.

Source: facebookresearch/fairseq-lua fairseq/modules BeamableMM.lua, CAddTableMulConstant.lua,
SeqMultiply.lua, GradMultiply.lua, AppendBias.lua; fbtorch TemporalConvolutionTBC.lua.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.layer_maps.correlation import correlate
from porter.layer_maps.table_math import TableArithmetic
from porter.maps import (
    Array,
    HintsInput,
    LayerMap,
    OpContext,
    Shape,
    TensorType,
    flag,
    integer,
    number,
    param,
    register,
    size,
)


@register("nn.TemporalConvolutionTBC")
class TemporalConvolutionTBC(LayerMap, HintsInput):
    """y[t, n, o] = b[o] + Σ w[k, i, o] · x[t + k − pad, n, i], over T×N×I with zero padding."""

    weight = param("KIO")
    bias = param("O")
    pad = integer("pad", 0)

    def output_shape(self, x: Shape) -> Shape:
        kernel, features, outputs = self.weight.shape
        self.require(self.pad >= 0, f"pads by {self.pad}")
        self.require(len(x) == 3 and x[2] == features, f"takes T×N×{features}", x)
        steps = x[0] - kernel + 1 + 2 * self.pad
        self.require(steps > 0, f"takes at least {kernel - 2 * self.pad} steps", x)
        return (steps, x[1], outputs)

    def reference(self, x: Array) -> Array:
        filters = np.transpose(self.weight.array, (2, 1, 0)).astype(x.dtype)
        out = correlate(np.transpose(x, (1, 2, 0)), filters, (1,), ((self.pad, self.pad),), (1,))
        return np.transpose(out, (2, 0, 1)) + self.bias.array

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        padded = tf.pad(tf.transpose(x, [1, 0, 2]), [[0, 0], [self.pad, self.pad], [0, 0]])
        out = tf.nn.conv1d(padded, at.variable(self.weight), stride=1, padding="VALID")
        return tf.transpose(tf.nn.bias_add(out, at.variable(self.bias)), [1, 0, 2])

    def input_hint(self) -> TensorType:
        return TensorType((None, None, self.weight.shape[1]))


@register("nn.CAddTableMulConstant")
class CAddTableMulConstant(TableArithmetic):
    """The sum of all tensors times `constant_scalar`."""

    factor = number("constant_scalar")
    inplace = flag("inplace")

    def reference_step(self, total: Array, x: Array) -> Array:
        return total + x

    def step(self, tf: Any, total: Any, x: Any) -> Any:
        return tf.add(total, x)

    def reference(self, *xs: Array) -> Array:
        return super().reference(*xs) * self.factor

    def apply(self, tf: Any, *xs: Any, at: OpContext) -> Any:
        return tf.multiply(super().apply(tf, *xs, at=at), self.factor)


@register("nn.SeqMultiply")
class SeqMultiply(LayerMap):
    """{x, sequence N×T…}: x times T·√(1/T)."""

    def output_shape(self, x: Shape, sequence: Shape) -> Shape:
        self.require(len(sequence) > 1, "takes a sequence N×T…", sequence)
        return x

    def reference(self, x: Array, sequence: Array) -> Array:
        steps = sequence.shape[1]
        out: Array = x * (steps * np.sqrt(1 / steps))
        return out

    def apply(self, tf: Any, x: Any, sequence: Any, at: OpContext) -> Any:
        steps = tf.cast(size(tf, sequence, 1), at.dtype)
        return tf.multiply(x, tf.multiply(steps, tf.math.rsqrt(steps)))


@register("nn.AppendBias")
class AppendBias(LayerMap):
    """x with a 1 appended along its last dimension."""

    def output_shape(self, x: Shape) -> Shape:
        return (*x[:-1], x[-1] + 1)

    def reference(self, x: Array) -> Array:
        return np.concatenate([x, np.ones_like(x[..., :1])], axis=-1)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        border = [[0, 0]] * (at.inputs[0].rank - 1)
        return tf.pad(x, [*border, [0, 1]], constant_values=1)
