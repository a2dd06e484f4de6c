"""Similarities and distances: to learned templates, and between the two tensors of a table.

Source: torch/nn Cosine.lua, Euclidean.lua, WeightedEuclidean.lua, DotProduct.lua,
CosineDistance.lua, PairwiseDistance.lua.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import numpy as np

from porter.maps import (
    Array,
    BadField,
    HintsInput,
    LayerMap,
    OpContext,
    Options,
    Param,
    Shape,
    TensorType,
    TorchObject,
    as_param,
    number,
    param,
    register,
)


class Templates(LayerMap, HintsInput):
    """Compares N×I or I with each of O learned templates: N×O or O."""

    weight: ClassVar[Any]
    """Templates; the letters I and O name its axes."""

    def extent(self, letter: str) -> int:
        weight: Param = self.weight
        return weight.shape[weight.axes.index(letter)]

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) in (1, 2), "takes N×I or I", x)
        self.require(x[-1] == self.extent("I"), f"takes {self.extent('I')} features", x)
        return (*x[:-1], self.extent("O"))

    def input_hint(self) -> TensorType:
        return TensorType((None, self.extent("I")))


@register("nn.Cosine")
class Cosine(Templates):
    """w·x / ((‖w‖ + 1e-12) (‖x‖ + 1e-12)) for each template w; `weight` is O×I."""

    weight = param("OI", to="IO")

    def reference(self, x: Array) -> Array:
        templates = self.weight.array.astype(x.dtype)
        lengths = np.sqrt(np.square(templates).sum(axis=1)) + 1e-12
        length = np.sqrt(np.square(x).sum(axis=-1, keepdims=True)) + 1e-12
        cosines: Array = x @ templates.T / lengths / length
        return cosines

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        templates = at.variable(self.weight)
        lengths = tf.add(tf.norm(templates, axis=0), 1e-12)
        length = tf.add(tf.norm(x, axis=-1, keepdims=True), 1e-12)
        products = tf.tensordot(x, templates, axes=1)
        return tf.divide(tf.divide(products, lengths), length)


@register("nn.Euclidean")
class Euclidean(Templates):
    """‖x − w‖ for each template w, a column of `weight`."""

    weight = param("IO")

    def reference(self, x: Array) -> Array:
        apart = x[..., None] - self.weight.array
        return np.asarray(np.sqrt(np.square(apart).sum(axis=-2)))

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        apart = tf.subtract(tf.expand_dims(x, -1), at.variable(self.weight))
        return tf.norm(apart, axis=-2)


@register("nn.WeightedEuclidean")
class WeightedEuclidean(Templates):
    """‖c ∘ (x − w)‖ for each template w and its scales c, columns of `weight` and `diagCov`."""

    weight = param("IO")
    scales = param("IO", name="diagCov")

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        if "weight" in module or "templates" not in module:
            return self
        op = self.evolve(weight=as_param("templates", module.tensor("templates"), "IO"))
        return op.with_notes("templates from the old field `templates`")

    def reference(self, x: Array) -> Array:
        apart = (x[..., None] - self.weight.array) * self.scales.array
        return np.asarray(np.sqrt(np.square(apart).sum(axis=-2)))

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        apart = tf.subtract(tf.expand_dims(x, -1), at.variable(self.weight))
        return tf.norm(tf.multiply(apart, at.variable(self.scales)), axis=-2)


class PairMeasure(LayerMap):
    """One number for each pair of rows of two N×C tensors, or for two vectors: N or 1."""

    def output_shape(self, a: Shape, b: Shape) -> Shape:
        self.require(len(a) in (1, 2) and a == b, "takes two N×C or two C", a, b)
        return a[:-1] or (1,)

    def reference(self, a: Array, b: Array) -> Array:
        return np.atleast_1d(self.reference_measure(a, b))

    def apply(self, tf: Any, a: Any, b: Any, at: OpContext) -> Any:
        measured = self.measure(tf, a, b, at)
        return measured if at.inputs[0].rank == 2 else tf.expand_dims(measured, 0)

    @abc.abstractmethod
    def reference_measure(self, a: Array, b: Array) -> Array:
        """Along the last axis, in NumPy."""

    @abc.abstractmethod
    def measure(self, tf: Any, a: Any, b: Any, at: OpContext) -> Any:
        """Along the last axis, in TensorFlow."""


def dot(tf: Any, a: Any, b: Any, at: OpContext) -> Any:
    """Σ a·b, added up in double precision as Torch does: the terms may nearly cancel."""
    products = tf.cast(tf.multiply(a, b), tf.float64)
    return tf.cast(tf.reduce_sum(products, axis=-1), at.dtype)


@register("nn.DotProduct")
class DotProduct(PairMeasure):
    """Σ a·b."""

    def reference_measure(self, a: Array, b: Array) -> Array:
        return np.asarray((a * b).sum(axis=-1))

    def measure(self, tf: Any, a: Any, b: Any, at: OpContext) -> Any:
        return dot(tf, a, b, at)


@register("nn.CosineDistance")
class CosineDistance(PairMeasure):
    """a·b / √((a·a + 1e-12) (b·b + 1e-12)): the cosine, in spite of the name."""

    def reference_measure(self, a: Array, b: Array) -> Array:
        inverses = [1 / (np.square(each).sum(axis=-1) + 1e-12) for each in (a, b)]
        return np.asarray((a * b).sum(axis=-1) * np.sqrt(inverses[0] * inverses[1]))

    def measure(self, tf: Any, a: Any, b: Any, at: OpContext) -> Any:
        measured = dot(tf, a, b, at)
        for each in (a, b):
            squares = tf.reduce_sum(tf.square(each), axis=-1)
            measured = tf.divide(measured, tf.sqrt(tf.add(squares, 1e-12)))
        return measured


@register("nn.PairwiseDistance")
class PairwiseDistance(PairMeasure):
    """(Σ |a − b|^p)^(1/p), where p is the field `norm`, 2 if missing."""

    power = number("norm", 2.0)

    def checked(self) -> LayerMap:
        if self.power == 0:
            raise BadField(f"'norm' of {self.typename} is the root of a sum", received="0")
        return self

    def reference_measure(self, a: Array, b: Array) -> Array:
        return np.asarray((np.abs(a - b) ** self.power).sum(axis=-1) ** (1 / self.power))

    def measure(self, tf: Any, a: Any, b: Any, at: OpContext) -> Any:
        powers = tf.pow(tf.abs(tf.subtract(a, b)), self.power)
        return tf.pow(tf.reduce_sum(powers, axis=-1), 1 / self.power)
