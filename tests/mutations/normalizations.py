"""Statistics, their epsilon, and the affine part of normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.ir.layout import OpContext
from porter.layer_maps.batch_normalization import centred
from porter.torch7 import TorchObject
from tests.build import linear, randn, sequential, torch_module
from tests.mutations.mutation import (
    Mutation,
    behind,
    in_tensorflow,
    original,
    to,
    values,
    with_methods,
)

BATCH, INSTANCE = "nn.SpatialBatchNormalization", "nn.InstanceNormalization"
LRN, NORMALIZE = "nn.SpatialCrossMapLRN", "nn.Normalize"
AFFINE = {"weight": randn(4, seed=1), "bias": randn(4, seed=2)}
MEAN, VARIANCE = randn(4, seed=3), np.abs(randn(4, seed=4)) + 0.5


def batch_normalization(train: bool = False, **fields: Any) -> TorchObject:
    all_fields = AFFINE | {"running_mean": MEAN, "running_var": VARIANCE} | fields
    return torch_module(BATCH, eps=1e-5, train=train, **all_fields)


def legacy() -> TorchObject:
    """Of a time when the file held 1 / sqrt(var + eps)."""
    deviation = (VARIANCE + 1e-5) ** -0.5
    return batch_normalization(running_var=None, running_std=deviation.astype(np.float32))


def instance_normalization() -> TorchObject:
    return torch_module(INSTANCE, nOutput=4, eps=1e-5, affine=True, **AFFINE)


def lrn() -> TorchObject:
    return torch_module(LRN, size=5, alpha=1e-4, beta=0.75, k=1)


def unbiased(self: Any, tf: Any, x: Any, at: OpContext) -> Any:
    """Division by n - 1, as when running statistics are updated."""
    count = tf.cast(tf.size(x) // x.shape[-1], x.dtype)
    deviation, variance = centred(tf, x, (0, 1, 2))
    scale = tf.math.rsqrt(variance * count / (count - 1) + self.eps) * at.variable(self.weight)
    return deviation * scale + at.variable(self.bias)


def over_the_batch(self: Any, tf: Any, x: Any, at: OpContext) -> Any:
    """An instance normalisation with the statistics of all images."""
    deviation, variance = centred(tf, x, (0, 1, 2))
    scale = tf.math.rsqrt(variance + self.eps) * at.variable(self.weight)
    return deviation * scale + at.variable(self.bias)


def over_pixels(self: Any, tf: Any, x: Any, at: OpContext) -> Any:
    """A response normalisation over neighbours in a row instead of planes."""
    turned = tf.transpose(x, [0, 1, 3, 2])
    return tf.transpose(original(LRN).apply(self, tf, turned, at=at), [0, 1, 3, 2])


def in_tf(name: str, typename: str, net: Any, at: str = "2", **changes: Any) -> Mutation:
    return Mutation(name, typename, in_tensorflow(typename, **changes), net, at)


EVALUATED, TRAINING = behind(batch_normalization()), behind(batch_normalization(train=True))
INSTANCES, RESPONSES = behind(instance_normalization()), behind(lrn())


def normalized() -> TorchObject:
    return sequential(linear(6, 5), torch_module(NORMALIZE, p=2, eps=1e-10))


MUTATIONS = [
    in_tf("batch norm: eps 1e-3", BATCH, EVALUATED, eps=to(1e-3)),
    in_tf("batch norm: eps 1e-9", BATCH, EVALUATED, eps=to(1e-9)),
    in_tf("batch norm: batch statistics in evaluation", BATCH, EVALUATED, uses_batch=to(True)),
    in_tf("batch norm: running statistics in training", BATCH, TRAINING, uses_batch=to(False)),
    in_tf(
        "batch norm: running_std taken for the variance",
        BATCH,
        behind(legacy()),
        running_var=values(lambda v: (v + 1e-5) ** -0.5),
    ),
    in_tf("batch norm: weight missing", BATCH, EVALUATED, weight=to(None)),
    in_tf("batch norm: bias missing", BATCH, EVALUATED, bias=to(None)),
    in_tf(
        "batch norm: planes in another order",
        BATCH,
        EVALUATED,
        running_mean=values(lambda v: v[::-1]),
    ),
    Mutation("batch norm: unbiased variance", BATCH, with_methods(BATCH, apply=unbiased), TRAINING),
    in_tf("instance norm: eps 1e-3", INSTANCE, INSTANCES, eps=to(1e-3)),
    in_tf("instance norm: eps 1e-9", INSTANCE, INSTANCES, eps=to(1e-9)),
    in_tf("instance norm: weight missing", INSTANCE, INSTANCES, weight=to(None)),
    Mutation(
        "instance norm: over the batch",
        INSTANCE,
        with_methods(INSTANCE, apply=over_the_batch),
        INSTANCES,
    ),
    in_tf("LRN: alpha not divided by size", LRN, RESPONSES, alpha=lambda alpha: alpha * 5),
    in_tf(
        "LRN: size taken for the radius",
        LRN,
        RESPONSES,
        window=lambda n: 2 * n + 1,
        alpha=lambda alpha: alpha * 11 / 5,
    ),
    in_tf("LRN: beta", LRN, RESPONSES, beta=to(0.5)),
    in_tf("LRN: k", LRN, RESPONSES, k=to(2.0)),
    Mutation("LRN: over pixels", LRN, with_methods(LRN, apply=over_pixels), RESPONSES),
    in_tf("normalize: another norm", NORMALIZE, normalized, p=to(1.0)),
]
