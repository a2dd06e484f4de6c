"""Tai's Neural Turing Machine: addressing of memory, and the machine.

Source: kaishengtai/torch-ntm NTM.lua, layers/SmoothCosineSimilarity.lua, ScalarMulTable.lua,
ScalarDivTable.lua, CircularConvolution.lua, PowTable.lua, OuterProd.lua.
"""

from __future__ import annotations

import abc
from typing import Any

import numpy as np

from porter.maps import (
    Array,
    BadTable,
    LayerMap,
    Nested,
    OpContext,
    Shape,
    TensorType,
    TorchObject,
    Value,
    Walk,
    WalkError,
    memory,
    number,
    register,
    size,
    structure,
)


@register("nn.SmoothCosineSimilarity")
class SmoothCosineSimilarity(LayerMap):
    """M·k / (‖row‖·‖k‖ + smooth) for each row of M: N numbers from {M N×D, k D}."""

    smooth = number("smooth", 1e-3)

    def output_shape(self, rows: Shape, key: Shape) -> Shape:
        fits = len(rows) == 2 and key == rows[1:]
        self.require(fits, "takes a matrix N×D and a vector D", rows, key)
        return rows[:1]

    def reference(self, rows: Array, key: Array) -> Array:
        lengths = np.sqrt(np.square(rows).sum(axis=1)) * np.sqrt(key @ key)
        out: Array = (rows @ key) / (lengths + self.smooth)
        return out

    def apply(self, tf: Any, rows: Any, key: Any, at: OpContext) -> Any:
        products = tf.reduce_sum(tf.multiply(rows, key), axis=1)
        lengths = tf.sqrt(tf.reduce_sum(tf.square(rows), axis=1))
        length = tf.sqrt(tf.reduce_sum(tf.square(key)))
        return tf.divide(products, tf.add(tf.multiply(lengths, length), self.smooth))


class ByNumber(LayerMap):
    """Each element of the first tensor with the first element of the second, a vector."""

    def output_shape(self, x: Shape, number: Shape) -> Shape:
        self.require(len(number) == 1, "takes a tensor and a vector with a number", x, number)
        return x

    def reference(self, x: Array, number: Array) -> Array:
        return self.reference_each(x, number[0])

    def apply(self, tf: Any, x: Any, number: Any, at: OpContext) -> Any:
        return self.each(tf, x, tf.squeeze(tf.slice(number, [0], [1]), 0))

    @abc.abstractmethod
    def reference_each(self, x: Array, number: Any) -> Array:
        """In NumPy."""

    @abc.abstractmethod
    def each(self, tf: Any, x: Any, number: Any) -> Any:
        """In TensorFlow."""


@register("nn.ScalarMulTable")
class ScalarMulTable(ByNumber):
    """x times a number."""

    def reference_each(self, x: Array, number: Any) -> Array:
        product: Array = x * number
        return product

    def each(self, tf: Any, x: Any, number: Any) -> Any:
        return tf.multiply(x, number)


@register("nn.ScalarDivTable")
class ScalarDivTable(ByNumber):
    """x divided by a number."""

    def reference_each(self, x: Array, number: Any) -> Array:
        quotient: Array = x / number
        return quotient

    def each(self, tf: Any, x: Any, number: Any) -> Any:
        return tf.divide(x, number)


@register("nn.PowTable")
class PowTable(ByNumber):
    """x to the power of a number."""

    def reference_each(self, x: Array, number: Any) -> Array:
        power: Array = x**number
        return power

    def each(self, tf: Any, x: Any, number: Any) -> Any:
        return tf.pow(x, number)


@register("nn.CircularConvolution")
class CircularConvolution(LayerMap):
    """y[i] = Σ k[j] · v[i + ⌊K/2⌋ − j], where v (N) wraps around; k has K numbers."""

    def output_shape(self, x: Shape, kernel: Shape) -> Shape:
        self.require(len(x) == 1 and len(kernel) == 1, "takes two vectors", x, kernel)
        self.require(kernel[0] <= x[0], "takes a kernel no longer than its vector", x, kernel)
        return x

    def reference(self, x: Array, kernel: Array) -> Array:
        out = np.zeros_like(x)
        for i in range(len(x)):
            for j, share in enumerate(kernel):
                out[i] += share * x[(i + len(kernel) // 2 - j) % len(x)]
        return out

    def apply(self, tf: Any, x: Any, kernel: Any, at: OpContext) -> Any:
        extent, taps = size(tf, x, 0), size(tf, kernel, 0)
        shifts = tf.subtract(tf.math.floordiv(taps, 2), tf.range(taps))
        places = tf.add(tf.expand_dims(tf.range(extent), 1), tf.expand_dims(shifts, 0))
        windows = tf.gather(x, tf.math.floormod(places, extent))
        return tf.reduce_sum(tf.multiply(windows, kernel), axis=1)


@register("nn.OuterProd")
class OuterProd(LayerMap):
    """u_i · v_j, or u_i · v_j · w_k, for two or three vectors."""

    def output_shape(self, *shapes: Shape) -> Shape:
        fits = len(shapes) in (2, 3) and all(len(shape) == 1 for shape in shapes)
        self.require(fits, "takes two or three vectors", *shapes)
        return tuple(shape[0] for shape in shapes)

    def reference(self, *xs: Array) -> Array:
        out = np.multiply.outer(xs[0], xs[1])
        return out if len(xs) == 2 else np.multiply.outer(out, xs[2])

    def apply(self, tf: Any, *xs: Any, at: OpContext) -> Any:
        product = tf.multiply(tf.expand_dims(xs[0], 1), tf.expand_dims(xs[1], 0))
        for x in xs[2:]:
            product = tf.multiply(tf.expand_dims(product, -1), x)
        return product


class Zero(LayerMap):
    """The source of the machine's initial state: a vector with the number 0."""

    def output_types(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (TensorType((1,)),)

    def reference(self) -> Array:
        return np.zeros(1)

    def apply(self, tf: Any, *, at: OpContext) -> Any:
        return tf.zeros([1], at.dtype)


@structure("ntm.NTM")
def turing_machine(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """One step: the first output of the cell; the others are stored for the next call.

    The state before the first step is learned: the outputs of `init_module`.
    """
    if not isinstance(x, Value):
        raise BadTable("ntm.NTM should be given one tensor", received="a table")
    states = memory(walk)
    if states.frame is not None:
        raise WalkError("ntm.NTM is not mapped inside a module that calls it for every step")
    if module.index in states.last:
        before = walk.resolve_all(states.last[module.index])
    else:
        before = walk(module.object("init_module"), walk.emit(Zero()), at="init_module")
    if not isinstance(before, list):
        raise BadTable("the state of ntm.NTM should be a table", received="one tensor")
    outputs = walk(module.object("master_cell"), [x, *before[1:]], at="master_cell")
    if not isinstance(outputs, list):
        raise BadTable("the cell of ntm.NTM should make a table", received="one tensor")
    states.last[module.index] = outputs
    return outputs[0]
