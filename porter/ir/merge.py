"""Two walks of one model with two input sizes as one graph with free sizes."""

from __future__ import annotations

from dataclasses import replace

from porter.ir.capabilities import Mergeable
from porter.ir.graph import Graph, Node, TensorType, Value, rename
from porter.ir.layer_map import LayerMap
from porter.ir.nested import leaves


def merge(first: Graph, second: Graph) -> Graph | None:
    """One graph for both sizes, with `None` where shapes differ; `None` if more than shapes differ.

    Walks of one model with two input sizes show which sizes are free. They may differ in nothing
    else: the same layers in the same order on the same values.
    """
    if len(first.nodes) != len(second.nodes) or first.stacked != second.stacked:
        return None
    merged: dict[int, Value] = {}

    def join(a: Value, b: Value) -> Value | None:
        if a.id != b.id or a.type.rank != b.type.rank or a.dtype != b.dtype:
            return None
        shape = tuple(
            i if i == j else None for i, j in zip(a.type.shape, b.type.shape, strict=True)
        )
        merged[a.id] = Value(a.id, TensorType(shape, a.dtype), a.storage)
        return merged[a.id]

    for a, b in zip(leaves(first.inputs), leaves(second.inputs), strict=True):
        if join(a, b) is None:
            return None
    nodes: list[Node] = []
    for one, other in zip(first.nodes, second.nodes, strict=True):
        op = merge_ops(one.op, other.op)
        if op is None or [v.id for v in one.inputs] != [v.id for v in other.inputs]:
            return None
        nodes.append(one if op is one.op else replace(one, op=op))
        if len(one.outputs) != len(other.outputs):
            return None
        for a, b in zip(one.outputs, other.outputs, strict=True):
            if join(a, b) is None:
                return None
    if [v.id for v in leaves(first.outputs)] != [v.id for v in leaves(second.outputs)]:
        return None
    return rename(replace(first, nodes=tuple(nodes)), merged)


def merge_ops(one: LayerMap, other: LayerMap) -> LayerMap | None:
    """One layer map for both walks; None if they differ in more than sizes of values."""
    if isinstance(one, Mergeable):
        merged: LayerMap | None = one.merged(other)
        return merged
    return one if one.same_as(other) else None
