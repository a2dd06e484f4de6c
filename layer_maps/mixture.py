"""Mixtures of experts: a table of gates and of the outputs that they weight.

Source: torch/nn MixtureTable.lua.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.layer_maps.table import table, table_of_tensors
from porter.maps import (
    Array,
    BadTable,
    LayerMap,
    Nested,
    OpContext,
    Shape,
    TorchObject,
    Value,
    Walk,
    integer,
    size,
    structure,
)


class MixtureOfTensors(LayerMap):
    """Σ gate_i · expert_i over a table of experts of one shape.

    Gates are N×G for experts with a batch axis, or G numbers for all elements of an expert.
    """

    def output_shape(self, gates: Shape, *experts: Shape) -> Shape:
        self.require(len(gates) in (1, 2), "takes gates of N×G or G", gates)
        self.require(gates[-1] == len(experts), f"takes {len(experts)} gates", gates)
        self.require(len(set(experts)) == 1, "takes experts of one shape", *experts)
        self.require(gates[:-1] in ((), experts[0][:1]), "takes gates for each sample", gates)
        return experts[0]

    def reference(self, gates: Array, *experts: Array) -> Array:
        unit = (1,) * (experts[0].ndim + 1 - gates.ndim)
        columns = np.moveaxis(gates, -1, 0)
        shaped = [column.reshape(column.shape + unit) for column in columns]
        weighted = [g * e for g, e in zip(shaped, experts, strict=True)]
        return np.asarray(np.sum(weighted, axis=0))

    def apply(self, tf: Any, gates: Any, *experts: Any, at: OpContext) -> Any:
        batch = [-1] if at.inputs[0].rank == 2 else []
        unit = [1] * (at.inputs[1].rank - len(batch))
        columns = tf.unstack(gates, num=len(experts), axis=-1)
        shaped = [tf.reshape(column, batch + unit) for column in columns]
        return tf.add_n([tf.multiply(g, e) for g, e in zip(shaped, experts, strict=True)])


class MixtureAlongAxis(LayerMap):
    """Σ gate_i · expert_i where the experts are the slices of one tensor across an axis."""

    axis = integer("axis")

    def output_shape(self, gates: Shape, experts: Shape) -> Shape:
        self.require(len(gates) in (1, 2), "takes gates of N×G or G", gates)
        fits = len(gates) <= self.axis + 1 <= len(experts) and gates[-1] == experts[self.axis]
        dimension = self.axis + 1
        self.require(fits, f"takes a gate for each entry of dimension {dimension}", gates, experts)
        self.require(gates[:-1] in ((), experts[:1]), "takes gates for each sample", gates, experts)
        return experts[: self.axis] + experts[self.axis + 1 :]

    def reference(self, gates: Array, experts: Array) -> Array:
        shape = [1] * experts.ndim
        shape[0] = gates.shape[0] if gates.ndim == 2 else 1
        shape[self.axis] = gates.shape[-1]
        return np.asarray((gates.reshape(shape) * experts).sum(axis=self.axis))

    def apply(self, tf: Any, gates: Any, experts: Any, at: OpContext) -> Any:
        target: list[Any] = [1] * at.inputs[1].rank
        if at.inputs[0].rank == 2:
            target[0] = size(tf, gates, 0)
        target[self.axis] = size(tf, gates, -1)
        return tf.reduce_sum(tf.multiply(tf.reshape(gates, target), experts), axis=self.axis)


@structure("nn.MixtureTable")
def mixture_table(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """Experts weighted by a gater: {gates, {expert, …}} or {gates, experts along `dim`}.

    `dim` is 2 where it was never set, and 1 for gates without batch axis.
    """
    pair = table(module, x)
    if len(pair) != 2 or not isinstance(pair[0], Value):
        raise BadTable(f"{module.typename} should be given gates and experts")
    gates, experts = pair[0], pair[1]
    if not isinstance(experts, Value):
        return walk.emit(MixtureOfTensors(), gates, *table_of_tensors(module, experts))
    dimension = module.integer("dim", min(gates.type.rank, 2))
    return walk.emit(MixtureAlongAxis(axis=dimension - 1), gates, experts)
