"""Maps that are wrong on both sides, as if their author had misunderstood Torch.

porter's own reference agrees with them: only what a real Torch7 recorded can tell.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.ir.fields import Array
from porter.ir.layout import OpContext
from porter.ir.registry import Handler
from porter.layer_maps.padding import SpatialSymmetricPadding
from tests.mutations.mutation import (
    Mutation,
    of_fixture,
    on_both_sides,
    swapped,
    to,
    values,
    with_fields,
    with_methods,
)
from tests.mutations.normalizations import BATCH, INSTANCE, LRN, unbiased
from tests.mutations.poolings import ADAPTIVE, AVERAGE, MAX, REFLECTION, SHUFFLE
from tests.mutations.structure import gates

CONVOLUTION, FULL = "nn.SpatialConvolution", "nn.SpatialFullConvolution"
JOHNSON, ALEXNET = "nets/texture_nets_johnson_slim", "nets/alexnet_lrn_groups"


def case(name: str, typename: str, stem: str, mutant: Handler) -> Mutation:
    """Judged by one recorded case of the class, whose root is the layer."""
    return of_fixture(name, typename, mutant, f"layers/{typename}/{stem}.t7")


def both(name: str, typename: str, stem: str, **changes: Any) -> Mutation:
    return case(name, typename, stem, on_both_sides(typename, **changes))


def rule(name: str, typename: str, stem: str, **changes: Any) -> Mutation:
    return case(name, typename, stem, with_fields(typename, **changes))


def planes_of(vector: Array) -> Array:
    return vector.reshape(1, -1, 1, 1)


def unbiased_reference(self: Any, x: Array) -> Array:
    mean = x.mean(axis=(0, 2, 3), keepdims=True)
    deviation = np.sqrt(x.var(axis=(0, 2, 3), keepdims=True, ddof=1) + self.eps)
    scaled: Array = (x - mean) / deviation * planes_of(self.weight.array)
    return scaled + planes_of(self.bias.array)


def never_run_reference(self: Any, x: Array) -> Array:
    """What torch/nn makes of it since August 2017: the running statistics of a fresh `bn`."""
    scaled: Array = x / np.sqrt(1 + self.eps) * planes_of(self.weight.array)
    return scaled + planes_of(self.bias.array)


def never_run(self: Any, tf: Any, x: Any, at: OpContext) -> Any:
    scale = at.variable(self.weight) / (1 + self.eps) ** 0.5
    return x * scale + at.variable(self.bias)


def planes_first_reference(self: Any, x: Array) -> Array:
    """TensorFlow's order of planes in a pixel shuffle."""
    r, (n, planes, height, width) = self.scale, x.shape
    blocks = x.reshape(n, r, r, planes // r**2, height, width)
    out: Array = blocks.transpose(0, 3, 4, 1, 5, 2)
    return out.reshape(n, planes // r**2, height * r, width * r)


def planes_first(self: Any, tf: Any, x: Any, at: OpContext) -> Any:
    return tf.nn.depth_to_space(x, self.scale)


def one_more(index: float) -> float:
    return index + 1


MUTATIONS = [
    both("kernel: flipped", CONVOLUTION, "k3_s1_p1", weight=values(lambda w: w[:, :, ::-1, ::-1])),
    both(
        "kernel: H and W swapped",
        CONVOLUTION,
        "k3_s1_p1",
        weight=values(lambda w: w.swapaxes(2, 3)),
    ),
    both("full convolution: adj ignored", FULL, "k3_s2_p1_a1", adj=to((0, 0))),
    both("pooling: floor for ceil", MAX, "k3s2_ceil", ceil=to(False)),
    both(
        "pooling: last window kept as cuDNN does",
        MAX,
        "k2s3_ceil_pad_lastwindow",
        is_cudnn=to(True),
    ),
    both("average: padding counted", AVERAGE, "k3s2p1_exclude", count_pad=to(True)),
    both("average: divide ignored", AVERAGE, "nodivide", divide=to(True)),
    both("adaptive pooling: W before H", ADAPTIVE, "w3h2", output_size=swapped),
    case(
        "reflection: outermost elements repeated",
        REFLECTION,
        "all4",
        with_methods(
            REFLECTION,
            source=SpatialSymmetricPadding.source,
            sources=SpatialSymmetricPadding.sources,
        ),
    ),
    both("batch norm: eps 1e-3", BATCH, "affine", eps=to(1e-3)),
    both("batch norm: running statistics in training", BATCH, "train_mode", uses_batch=to(False)),
    case(
        "batch norm: unbiased variance",
        BATCH,
        "train_mode",
        with_methods(BATCH, apply=unbiased, reference=unbiased_reference),
    ),
    of_fixture(
        "instance norm: running statistics, as torch/nn since 2017",
        INSTANCE,
        with_methods(INSTANCE, apply=never_run, reference=never_run_reference),
        JOHNSON,
        "3",
    ),
    of_fixture(
        "instance norm: eps 1e-3", INSTANCE, on_both_sides(INSTANCE, eps=to(1e-3)), JOHNSON, "3"
    ),
    of_fixture(
        "LRN: alpha not divided by size",
        LRN,
        on_both_sides(LRN, alpha=lambda alpha: alpha * 5),
        ALEXNET,
        "3",
    ),
    both("dropout: scale of version 1 ignored", "nn.Dropout", "v1", v2=to(True)),
    case(
        "pixel shuffle: TensorFlow's order of planes",
        SHUFFLE,
        "r2",
        with_methods(SHUFFLE, apply=planes_first, reference=planes_first_reference),
    ),
    both(
        "LSTM: gates in another order",
        "nn.SeqLSTM",
        "plain",
        weight=gates(0, 1, 3, 2),
        bias=gates(0, 1, 3, 2),
    ),
    both("GRU: gates swapped", "nn.SeqGRU", "plain", weight=gates(1, 0, 2), bias=gates(1, 0, 2)),
    both("view: numInputDims ignored", "nn.View", "numinputdims", sample_rank=to(None)),
    rule("select table: counted from 0", "nn.SelectTable", "i1", index=one_more),
    rule("select table: -1 taken for the first", "nn.SelectTable", "neg1", index=to(1.0)),
    rule("narrow table: counted from 0", "nn.NarrowTable", "o1", offset=one_more),
    rule("join table: nInputDims ignored", "nn.JoinTable", "dim1_nd1_batched", nInputDims=to(None)),
    rule(
        "split table: nInputDims ignored", "nn.SplitTable", "dim1_nd1_batched", nInputDims=to(None)
    ),
    of_fixture(
        "in place: siblings do not see it",
        "nn.ReLU",
        on_both_sides("nn.ReLU", inplace=to(False)),
        "layers/nn.gModule/residual_unary_minus_syntax.t7",
        at="5",
    ),
]
