"""Losses that are part of a net: a table of prediction and target becomes one number.

Source: torch/nn CriterionTable.lua, ModuleFromCriterion.lua, MSECriterion.lua, AbsCriterion.lua,
SmoothL1Criterion.lua, DistKLDivCriterion.lua, BCECriterion.lua, ClassNLLCriterion.lua and THNN.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import numpy as np

from porter.layer_maps.containers import tensors
from porter.maps import (
    INT,
    Array,
    HintsInputs,
    LayerMap,
    Nested,
    OpContext,
    Shape,
    TakesIndices,
    TensorType,
    TorchObject,
    UnmappedModules,
    Value,
    Walk,
    flag,
    integer,
    optional_param,
    register,
    size,
    structure,
)


@structure("nn.CriterionTable", "nn.ModuleFromCriterion")
def criterion_table(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The loss of {prediction, target}: a tensor of one element, where Torch may give a number."""
    criterion = module.object("criterion")
    if criterion.typename not in walk.model.registry:
        raise UnmappedModules(f"no layer map for {criterion.typename}")
    return walk(criterion, [*tensors(module, x)], at="criterion")


class Loss(LayerMap, HintsInputs):
    """Mean (`sizeAverage`) or sum of a loss over all elements."""

    average = flag("sizeAverage", default=True)

    @abc.abstractmethod
    def losses(self, x: Array, target: Array) -> Array:
        """The loss of each element in NumPy."""

    @abc.abstractmethod
    def apply_losses(self, tf: Any, x: Any, target: Any, at: OpContext) -> Any:
        """The loss of each element in TensorFlow."""

    def input_hint_at(
        self, position: int, inputs: Sequence[TensorType | None]
    ) -> TensorType | None:
        return inputs[1 - position]

    def output_shape(self, x: Shape, target: Shape) -> Shape:
        self.require(x == target, "takes prediction and target of one shape", x, target)
        return (1,)

    def reference(self, x: Array, target: Array) -> Array:
        losses = self.losses(x, target)
        return np.reshape(losses.mean() if self.average else losses.sum(), (1,))

    def apply(self, tf: Any, x: Any, target: Any, at: OpContext) -> Any:
        losses = self.apply_losses(tf, x, tf.cast(target, at.dtype), at)
        whole = tf.reduce_mean(losses) if self.average else tf.reduce_sum(losses)
        return tf.reshape(whole, [1])


@register("nn.MSECriterion")
class MSECriterion(Loss):
    """(x − target)²."""

    def losses(self, x: Array, target: Array) -> Array:
        square: Array = (x - target) ** 2
        return square

    def apply_losses(self, tf: Any, x: Any, target: Any, at: OpContext) -> Any:
        return tf.math.squared_difference(x, target)


@register("nn.AbsCriterion")
class AbsCriterion(Loss):
    """|x − target|."""

    def losses(self, x: Array, target: Array) -> Array:
        apart: Array = np.abs(x - target)
        return apart

    def apply_losses(self, tf: Any, x: Any, target: Any, at: OpContext) -> Any:
        return tf.abs(tf.subtract(x, target))


@register("nn.SmoothL1Criterion")
class SmoothL1Criterion(Loss):
    """d² / 2 where d = |x − target| < 1, else d − 1/2."""

    def losses(self, x: Array, target: Array) -> Array:
        apart = np.abs(x - target)
        loss: Array = np.where(apart < 1, apart**2 / 2, apart - 0.5)
        return loss

    def apply_losses(self, tf: Any, x: Any, target: Any, at: OpContext) -> Any:
        apart = tf.abs(tf.subtract(x, target))
        square = tf.multiply(tf.square(apart), 0.5)
        return tf.where(tf.less(apart, 1), square, tf.subtract(apart, 0.5))


@register("nn.DistKLDivCriterion")
class DistKLDivCriterion(Loss):
    """target · (log(target) − x) where target > 0, else 0; x is a logarithm already."""

    def losses(self, x: Array, target: Array) -> Array:
        sure = np.where(target > 0, target, 1)
        return np.where(target > 0, target * (np.log(sure) - x), 0)

    def apply_losses(self, tf: Any, x: Any, target: Any, at: OpContext) -> Any:
        positive = tf.greater(target, 0)
        sure = tf.where(positive, target, tf.ones_like(target))
        loss = tf.multiply(target, tf.subtract(tf.math.log(sure), x))
        return tf.where(positive, loss, tf.zeros_like(loss))


@register("nn.BCECriterion")
class BCECriterion(Loss):
    """−w · (target · log(x + ε) + (1 − target) · log(1 − x + ε)), ε = 1e-12.

    `weights` has as many elements as a sample.
    """

    weights = optional_param("O", trainable=False)

    def output_shape(self, x: Shape, target: Shape) -> Shape:
        count = None if self.weights is None else self.weights.shape[0]
        self.require(count in (None, x[-1]), f"takes {count} elements a sample", x)
        return super().output_shape(x, target)

    def losses(self, x: Array, target: Array) -> Array:
        tiny = 1e-12
        loss: Array = -(target * np.log(x + tiny) + (1 - target) * np.log(1 - x + tiny))
        if self.weights is not None:
            loss = loss * self.weights.array
        return loss

    def apply_losses(self, tf: Any, x: Any, target: Any, at: OpContext) -> Any:
        tiny = 1e-12
        hit = tf.multiply(target, tf.math.log(tf.add(x, tiny)))
        rest = tf.subtract(1.0, x)
        miss = tf.multiply(tf.subtract(1.0, target), tf.math.log(tf.add(rest, tiny)))
        loss = tf.negative(tf.add(hit, miss))
        return loss if self.weights is None else tf.multiply(loss, at.variable(self.weights))


@register("nn.ClassNLLCriterion")
class ClassNLLCriterion(LayerMap, HintsInputs, TakesIndices):
    """−Σ w · x[target], over the sum of the weights with `sizeAverage`.

    x is N×C (or C), target N (or 1) with classes from 1; `ignoreIndex` marks rows to leave out.
    """

    average = flag("sizeAverage", default=True)
    weights = optional_param("C", trainable=False)
    ignored = integer("ignoreIndex", -100)

    def input_hint_at(
        self, position: int, inputs: Sequence[TensorType | None]
    ) -> TensorType | None:
        rows = inputs[0] if position == 1 else None
        return None if rows is None else TensorType(rows.shape[:1] if rows.rank == 2 else (1,), INT)

    def index_limit(self, position: int, inputs: Sequence[TensorType]) -> int | None:
        return inputs[0].shape[-1] if position == 1 else None

    def least_index(self) -> int | None:
        return None  # `ignoreIndex` is any number

    def output_shape(self, x: Shape, target: Shape) -> Shape:
        rows = x[0] if len(x) == 2 else 1
        fits = len(x) in (1, 2) and target in ((rows,), (rows, 1))
        self.require(fits, "takes N×C and N targets", x, target)
        classes = x[-1] if self.weights is None else self.weights.shape[0]
        self.require(x[-1] == classes, f"weighs {classes} classes", x)
        return (1,)

    def reference(self, x: Array, target: Array) -> Array:
        rows = np.atleast_2d(x)
        classes = target.reshape(-1).astype(np.int64)
        counted = classes != self.ignored
        picked = rows[np.arange(len(rows))[counted], classes[counted] - 1]
        weights = np.ones(rows.shape[1]) if self.weights is None else self.weights.array
        weight = weights.astype(x.dtype)[classes[counted] - 1]
        total = weight.sum() if self.average else 0
        loss = -(weight * picked).sum()
        return np.reshape(loss / total if total else loss, (1,))

    def apply(self, tf: Any, x: Any, target: Any, at: OpContext) -> Any:
        rows = x if at.inputs[0].rank == 2 else tf.expand_dims(x, 0)
        classes = tf.reshape(tf.cast(target, tf.int64), [-1])
        place = tf.subtract(classes, 1)
        chosen = tf.one_hot(place, size(tf, rows, 1), dtype=at.dtype)
        if self.weights is not None:
            chosen = tf.multiply(chosen, at.variable(self.weights))
        counted = tf.cast(tf.not_equal(classes, self.ignored), at.dtype)
        chosen = tf.multiply(chosen, tf.expand_dims(counted, 1))
        picked = tf.where(tf.greater(chosen, 0), tf.multiply(chosen, rows), tf.zeros_like(rows))
        loss = tf.negative(tf.reduce_sum(picked))
        if self.average:
            loss = tf.math.divide_no_nan(loss, tf.reduce_sum(chosen))
        return tf.reshape(loss, [1])
