"""fairseq's modules for convolutional sequence to sequence learning.

Source: facebookresearch/fairseq-lua fairseq/modules BeamableMM.lua, CAddTableMulConstant.lua,
SeqMultiply.lua, GradMultiply.lua, AppendBias.lua, LinearizedConvolution.lua, TrainTestLayer.lua,
ZipAlong.lua, models/fconv_model.lua (ConvBlockTrainTestLayer); fbtorch TemporalConvolutionTBC.lua.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.layer_maps.correlation import correlate
from porter.layer_maps.table import table
from porter.layer_maps.table_math import TableArithmetic
from porter.maps import (
    Array,
    BadField,
    BadTable,
    HintsInput,
    LayerMap,
    Nested,
    OpContext,
    Shape,
    TensorType,
    TorchObject,
    Value,
    Walk,
    flag,
    integer,
    number,
    param,
    register,
    size,
    structure,
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


@register("nn.LinearizedConvolution", note="the first step of a sequence")
class LinearizedConvolution(LayerMap, HintsInput):
    """The first step of a convolution over time, N×T×I to N×1×O: the last frame after zeros.

    In Torch `shiftState` moves the frames before it along, between the steps of a text.
    """

    weight = param("OI")
    bias = param("O")
    kernel = integer("kw")

    def output_shape(self, x: Shape) -> Shape:
        outputs, features = self.weight.shape
        fits = len(x) == 3 and x[2] * max(self.kernel, 1) == features
        self.require(fits, f"takes N×T×I with {max(self.kernel, 1)}·I = {features}", x)
        self.require(self.kernel > 1 or x[1] == 1, "takes one step, N×1×I", x)
        return (x[0], 1, outputs)

    def reference(self, x: Array) -> Array:
        out: Array = x[:, -1:] @ self.weight.array[:, -x.shape[2] :].T + self.bias.array
        return out

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        features = self.weight.shape[1] // max(self.kernel, 1)
        taps = tf.slice(at.variable(self.weight), [0, self.weight.shape[1] - features], [-1, -1])
        last = tf.strided_slice(x, [0, -1], [0, 0], [1, 1], begin_mask=1, end_mask=3)
        out = tf.matmul(tf.squeeze(last, 1), taps, transpose_b=True)
        return tf.expand_dims(tf.nn.bias_add(out, at.variable(self.bias)), 1)

    def input_hint(self) -> TensorType:
        return TensorType((None, None, self.weight.shape[1] // max(self.kernel, 1)))


@structure("nn.TrainTestLayer", "nn.ConvBlockTrainTestLayer")
def train_or_test(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The output of the first of two modules in training mode, of the second in evaluate mode."""
    number = 1 if walk.model.options.in_training(module, default=True) else 2
    children = walk.children(module)
    if len(children) != 2:
        raise BadField(f"{module.typename} should hold two modules", received=str(len(children)))
    walk.note(f"module {number} of two: the one of {('training', 'evaluate')[number - 1]} mode")
    return walk(children[number - 1], x, at=str(number))


@structure("nn.ZipAlong")
def zip_along(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """{{a, b}, v} becomes {{a, v}, {b, v}}."""
    pair = table(module, x)
    if len(pair) != 2:
        raise BadTable(
            f"{module.typename} should be given a table and an entry",
            received=f"a table of {len(pair)}",
        )
    return [[item, pair[1]] for item in table(module, pair[0])]
