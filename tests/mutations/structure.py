"""Indices, tables, branches, shared weights and recurrent cells."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from porter.ir.fields import Array, Param
from porter.ir.layout import OpContext
from porter.layer_maps.containers import CentredJoin
from porter.layer_maps.sequence_rnn import SeqLSTM
from porter.layer_maps.table import Join
from porter.runtime.runner import Variables
from porter.torch7 import TorchObject
from tests.build import (
    concat_table,
    container,
    conv,
    identity,
    linear,
    parallel_table,
    randn,
    relu,
    sequential,
    torch_module,
)
from tests.mutations.convolutions import CONVOLUTION, convolution
from tests.mutations.mutation import (
    FRONT,
    Mutation,
    behind,
    in_tensorflow,
    swapped,
    values,
    with_methods,
)


def module(name: str, **fields: Any) -> TorchObject:
    return torch_module(f"nn.{name}", **fields)


def front(planes: int, outputs: int, seed: int = 0, kernel: int = 3) -> TorchObject:
    """A convolution that no mutation breaks."""
    first = conv(planes, outputs, kernel=kernel, seed=seed)
    return TorchObject(FRONT, first.index, first.version, first.offset, first.fields)


def of_branches(layer: TorchObject) -> Any:
    """Two images in a table, given to the layer at path 2."""
    return lambda: sequential(concat_table(front(3, 4, seed=1), front(3, 4, seed=2)), layer)


def in_tf(name: str, layer: TorchObject, **changes: Any) -> Mutation:
    mutant = in_tensorflow(layer.typename, **changes)
    return Mutation(name, layer.typename, mutant, behind(layer))


# Tables -------------------------------------------------------------------------------------------


def turned_round(self: Any, tf: Any, total: Any, x: Any) -> Any:
    return {"nn.CSubTable": tf.subtract, "nn.CDivTable": tf.divide}[self.typename](x, total)


class JoinedBackwards(Join):
    def apply(self, tf: Any, *xs: Any, at: OpContext) -> Any:
        return super().apply(tf, *xs[::-1], at=at)


def join_backwards(walk: Any, module: TorchObject, x: Any) -> Any:
    return walk.emit(JoinedBackwards(axis=1), *x)


class CentredUpwards(CentredJoin):
    """Smaller images start at ceil(m/2)."""

    def apply(self, tf: Any, *xs: Any, at: OpContext) -> Any:
        flipped = [tf.reverse(x, [1, 2]) for x in xs]
        return tf.reverse(super().apply(tf, *flipped, at=at), [1, 2])


def depth_concat_upwards(walk: Any, module: TorchObject, x: Any) -> Any:
    branches = [walk(child, x, at=str(i + 1)) for i, child in enumerate(walk.children(module))]
    return walk.emit(CentredUpwards(axis=1), *branches)


def uneven_branches() -> TorchObject:
    """Branches whose sizes differ by three."""
    return container("nn.DepthConcat", front(3, 2, kernel=1), front(3, 2, kernel=4), dimension=2)


def residual() -> TorchObject:
    """A convolution whose output is added to something: no other shape would fit."""
    layer = convolution(padH=1, padW=1, dH=2, dW=1)
    beside = convolution("cudnn.SpatialConvolution", padH=1, padW=1, dH=2, dW=1)
    return sequential(front(3, 4), concat_table(layer, beside), module("CAddTable"))


# Indices ------------------------------------------------------------------------------------------


def from_zero(self: Any, tf: Any, x: Any, at: OpContext) -> Any:
    """Indices taken as counted from 0, around the end of the table."""
    weight = at.variable(self.weight)
    return tf.gather(weight, tf.cast(x, tf.int64) % self.weight.shape[0])


def embedding() -> TorchObject:
    return sequential(module("LookupTable", weight=randn(7, 3)))


# Weights ------------------------------------------------------------------------------------------


class ByShape(Variables):
    """Takes parameters of one name and shape for the same."""

    def get(self, path: str, param: Param, rows: tuple[int, ...]) -> Any:
        key: Hashable = (param.name, param.shape)
        return super().get(path, Param(param.name, param.array, param.axes, param.to, key), rows)


def twins() -> TorchObject:
    """Two convolutions of one shape with weights of their own."""
    return sequential(conv(3, 3, pad=1, seed=1), relu(), conv(3, 3, pad=1, seed=2))


def used_twice() -> TorchObject:
    """One convolution at two places."""
    shared = conv(3, 3, pad=1, seed=1)
    return sequential(shared, relu(), shared)


class ByPath(Variables):
    """Gives each place a weight of its own, and all but the first a fresh one."""

    def get(self, path: str, param: Param, rows: tuple[int, ...]) -> Any:
        if path != "3":
            return super().get(path, param, rows)
        fresh = param.with_array(np.zeros_like(param.array), param.axes, param.to, tag="fresh")
        return super().get(path, fresh, rows)


# Recurrent layers ---------------------------------------------------------------------------------


def gates(*order: int) -> Any:
    """The gates of a weight or bias in another order; they lie along the last axis."""

    def reorder(array: Array) -> Array:
        parts = np.split(array, len(order), axis=-1)
        return np.concatenate([parts[i] for i in order], axis=-1)

    return values(reorder)


def lstm() -> TorchObject:
    return sequential(module("SeqLSTM", weight=randn(9, 16), bias=randn(16, seed=1)))


def gru() -> TorchObject:
    return sequential(module("SeqGRU", weight=randn(9, 12), bias=randn(12, seed=1)))


def no_cell(self: Any, tf: Any, share: Any, states: Any, weight: Any, extra: Any) -> Any:
    """An LSTM that hands its output on as its cell."""
    _, h = SeqLSTM.step(self, tf, share, states, weight, extra)
    return [h, h]


# Axes ---------------------------------------------------------------------------------------------


def without_axis(self: Any, tf: Any, x: Any, at: OpContext) -> Any:
    """An output of another rank."""
    return tf.reduce_sum(x, axis=0)


def not_transposed(self: Any, tf: Any, a: Any, b: Any, at: OpContext) -> Any:
    return tf.matmul(a, b)


def matrices() -> TorchObject:
    """Two square matrices for each sample, of which the second is to be transposed."""
    views = parallel_table(module("View", size=[5, 5], numInputDims=1), identity())
    other = module("View", size=[5, 5], numInputDims=1)
    both = concat_table(
        sequential(linear(4, 25, seed=1), views.list("modules")[0]),
        sequential(linear(4, 25, seed=2), other),
    )
    return sequential(both, module("MM", transA=False, transB=True))


MUTATIONS = [
    in_tf("select: counted from 0", module("Select", dimension=2, index=2), index=lambda i: i + 1),
    in_tf(
        "select: -1 taken for the first", module("Select", dimension=2, index=-1), index=lambda _: 1
    ),
    in_tf(
        "narrow: counted from 0",
        module("Narrow", dimension=2, index=2, length=2),
        offset=lambda i: i + 1,
    ),
    Mutation(
        "lookup: counted from 0",
        "nn.LookupTable",
        with_methods("nn.LookupTable", apply=from_zero),
        embedding,
        "1",
    ),
    Mutation(
        "difference: operands swapped",
        "nn.CSubTable",
        with_methods("nn.CSubTable", step=turned_round),
        of_branches(module("CSubTable")),
    ),
    Mutation(
        "quotient: operands swapped",
        "nn.CDivTable",
        with_methods("nn.CDivTable", step=turned_round),
        of_branches(module("CDivTable")),
    ),
    Mutation(
        "join: backwards",
        "nn.JoinTable",
        join_backwards,
        of_branches(module("JoinTable", dimension=2)),
    ),
    Mutation(
        "depth concat: centred upwards", "nn.DepthConcat", depth_concat_upwards, uneven_branches, ""
    ),
    Mutation(
        "stride in a residual block: dW before dH",
        CONVOLUTION,
        in_tensorflow(CONVOLUTION, stride=swapped),
        residual,
        "2.1",
    ),
    Mutation(
        "an axis dropped",
        "nn.Tanh",
        with_methods("nn.Tanh", apply=without_axis),
        lambda: sequential(front(3, 4), module("Tanh"), front(4, 2)),
    ),
    Mutation(
        "matrix product: not transposed",
        "nn.MM",
        with_methods("nn.MM", apply=not_transposed),
        matrices,
    ),
    Mutation(
        "two modules of one shape share a weight",
        "nn.SpatialConvolution",
        None,
        twins,
        "3",
        variables=ByShape,
    ),
    Mutation(
        "a shared module gets a second weight",
        "nn.SpatialConvolution",
        None,
        used_twice,
        "3",
        variables=ByPath,
    ),
    Mutation(
        "LSTM: gates in another order",
        "nn.SeqLSTM",
        in_tensorflow("nn.SeqLSTM", weight=gates(0, 1, 3, 2), bias=gates(0, 1, 3, 2)),
        lstm,
        "1",
    ),
    Mutation(
        "LSTM: bias in another order",
        "nn.SeqLSTM",
        in_tensorflow("nn.SeqLSTM", bias=gates(1, 0, 2, 3)),
        lstm,
        "1",
    ),
    Mutation(
        "LSTM: output for cell", "nn.SeqLSTM", with_methods("nn.SeqLSTM", step=no_cell), lstm, "1"
    ),
    Mutation(
        "GRU: gates swapped",
        "nn.SeqGRU",
        in_tensorflow("nn.SeqGRU", weight=gates(1, 0, 2), bias=gates(1, 0, 2)),
        gru,
        "1",
    ),
]
