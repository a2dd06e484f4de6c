"""Transfer functions, constants and learned factors."""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.ir.layout import OpContext
from porter.layer_maps.affine import spread
from porter.torch7 import TorchObject
from tests.build import linear, randn, sequential, torch_module
from tests.mutations.mutation import Mutation, behind, in_tensorflow, to, values, with_methods


def wrong(name: str, layer: TorchObject, **changes: Any) -> Mutation:
    """The layer behind a convolution, its fields changed in TensorFlow."""
    mutant = in_tensorflow(layer.typename, **changes)
    return Mutation(name, layer.typename, mutant, behind(layer))


def replaced(name: str, layer: TorchObject, apply: Any) -> Mutation:
    """The layer behind a convolution, computed otherwise in TensorFlow."""
    mutant = with_methods(layer.typename, apply=apply)
    return Mutation(name, layer.typename, mutant, behind(layer))


def over_axis(axis: int) -> Any:
    """Softmax along another stored axis."""

    def apply(self: Any, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.nn.softmax(x, axis=axis)

    return apply


def log_over_rows(self: Any, tf: Any, x: Any, at: OpContext) -> Any:
    return tf.nn.log_softmax(x, axis=1)


def probabilities(self: Any, tf: Any, x: Any, at: OpContext) -> Any:
    return tf.nn.softmax(x, axis=-1)


def rectified(self: Any, tf: Any, x: Any, at: OpContext) -> Any:
    return tf.nn.relu(x)


def sigmoid(self: Any, tf: Any, x: Any, at: OpContext) -> Any:
    return tf.sigmoid(x)


def first_slope_for_all(self: Any, tf: Any, x: Any, at: OpContext) -> Any:
    slope = at.variable(self.weight)[0]
    return tf.where(x > 0, x, slope * x)


def slope_of_each_row(self: Any, tf: Any, x: Any, at: OpContext) -> Any:
    """A vector of factors laid along the height, as if images were C×H×W behind each other."""
    weight = self.weight.with_array(self.weight.array.reshape(1, 1, 4, 1), tag="rows")
    rows = spread(at, weight, (1, 1, 4, 1))
    return tf.multiply(x, tf.gather(rows, tf.range(x.shape[1]) % 4, axis=1))


def module(name: str, **fields: Any) -> TorchObject:
    return torch_module(f"nn.{name}", **fields)


DROPOUT = module("Dropout", p=0.3, train=False)
SLOPES = module("PReLU", weight=np.abs(randn(4, seed=1)), nOutputPlane=4)
FACTORS = module("CMul", weight=randn(1, 4, 1, 1, seed=2))


def classes() -> TorchObject:
    return sequential(linear(6, 6), module("LogSoftMax"))


MUTATIONS = [
    wrong("dropout: scale of version 1 ignored", DROPOUT, p=to(0.0)),
    wrong("dropout: version 2 scaled once more", module("Dropout", p=0.3, v2=True), v2=to(False)),
    wrong("ELU: alpha", module("ELU", alpha=0.7), alpha=to(1.0)),
    wrong("leaky ReLU: slope", module("LeakyReLU", negval=0.2), slope=to(0.01)),
    wrong("RReLU: lower slope", module("RReLU", lower=0.1, upper=0.3), upper=to(0.1)),
    replaced("PReLU: one slope for all planes", SLOPES, first_slope_for_all),
    wrong("PReLU: planes in another order", SLOPES, weight=values(lambda w: w[::-1])),
    wrong("threshold: value", module("Threshold", threshold=0.1, val=-0.3), value=to(0.0)),
    wrong("threshold: threshold", module("Threshold", threshold=0.1, val=-0.3), threshold=to(0.0)),
    wrong("hard tanh: lower limit", module("HardTanh", min_val=-0.5, max_val=2), lower=to(-1.0)),
    wrong("hard tanh: upper limit", module("HardTanh", min_val=-0.5, max_val=2), upper=to(1.0)),
    replaced("ReLU6: no upper limit", module("ReLU6"), rectified),
    wrong("hard shrink: lambda", module("HardShrink", **{"lambda": 0.3}), width=to(0.5)),
    wrong("soft plus: beta", module("SoftPlus", beta=2), beta=to(1.0)),
    wrong("soft plus: threshold", module("SoftPlus", beta=1, threshold=3), threshold=to(20.0)),
    replaced("tanh: sigmoid", module("Tanh"), sigmoid),
    replaced("soft max: over the width", module("SoftMax"), over_axis(2)),
    replaced("soft max: over the batch", module("SoftMax"), over_axis(0)),
    replaced("log soft max: over the height", module("LogSoftMax"), log_over_rows),
    Mutation(
        "log soft max: no logarithm",
        "nn.LogSoftMax",
        with_methods("nn.LogSoftMax", apply=probabilities),
        classes,
    ),
    wrong("constant factor", module("MulConstant", constant_scalar=3), factor=to(1.0)),
    wrong("constant addend", module("AddConstant", constant_scalar=0.5), constant=to(-0.5)),
    wrong("power", module("Power", pow=3), exponent=to(2.0)),
    replaced("CMul: along the height", FACTORS, slope_of_each_row),
    wrong("CMul: planes in another order", FACTORS, weight=values(lambda w: w[:, ::-1])),
]
