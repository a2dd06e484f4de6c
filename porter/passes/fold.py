"""The same function in fewer layers, for inference-only files: a plain function Graph → Graph.

Layers that pass their input on unchanged (dropout in evaluation) are dropped:

    conv → dropout → relu            conv → relu

A layer that is an affine function of each plane, y[o] = scale[o] · x[o] + shift[o] (a batch
normalisation with fixed statistics), is folded into the layer that computes its planes:

    x[o] = bias[o] + Σ weight[o, …] · z            y[o] = bias'[o] + Σ weight'[o, …] · z
    y[o] = scale[o] · x[o] + shift[o]              weight'[o, …] = scale[o] · weight[o, …]
                                                   bias'[o] = scale[o] · bias[o] + shift[o]

    batch normalisation: scale = gamma / sqrt(var + eps), shift = beta - mean · scale

That is legal where nothing else reads x, where the planes are axis 1 of both layers, and where
scale and shift are finite. The product is computed in float64, so that folding costs one rounding.

A fused node computes the value of the last of its layers, under the same id, and lists the Torch
paths of all its layers in `origin`, so that parity can match them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from porter.ir.capabilities import AffinePerPlane, Skippable
from porter.ir.fields import Array, Param
from porter.ir.graph import Graph, Node, Value, rename, verify
from porter.ir.layer_map import LayerMap
from porter.ir.liveness import reader_counts
from porter.passes.matchers import plane_axis


def fuse(graph: Graph) -> Graph:
    """`graph` with identities dropped and affine layers folded into what they follow."""
    fused = fold_affines(drop_identities(graph))
    verify(fused)
    return fused


def drop_identities(graph: Graph) -> Graph:
    """Let the readers of an identity's output read its input."""
    instead: dict[int, Value] = {}
    remaining: list[Node] = []
    for node in graph.nodes:
        if not (isinstance(node.op, Skippable) and node.op.is_identity()):
            remaining.append(node)
            continue
        (source,), (output,) = node.inputs, node.outputs
        instead[output.id] = instead.get(source.id, source)
    return rename(replace(graph, nodes=tuple(remaining)), instead)


def fold_affines(graph: Graph) -> Graph:
    """Fold affine layers, where legal, into the node that computes their input."""
    readers = reader_counts(graph)
    nodes: list[Node] = []
    makers: dict[int, int] = {}
    for node in graph.nodes:
        maker = makers.get(node.inputs[0].id) if node.inputs else None
        folded = None
        if maker is not None and readers[node.inputs[0].id] == 1:
            folded = fold(nodes[maker], node)
        if folded is not None and maker is not None:
            nodes[maker] = folded
        else:
            maker = len(nodes)
            nodes.append(node)
        makers |= {value.id: maker for value in node.outputs}
    return replace(graph, nodes=tuple(nodes))


def fold(maker: Node, node: Node) -> Node | None:
    """Both as one node; None where that is not legal."""
    affine = node.op.per_plane_affine() if isinstance(node.op, AffinePerPlane) else None
    if affine is None or plane_axis(maker) != 1:
        return None
    op = scaled(maker.op, *affine, tag=f"folded with {node.path}")
    if op is None:
        return None
    origin = (*maker.origin, *node.origin)
    return replace(maker, op=op, outputs=node.outputs, origin=origin)


def scaled(op: LayerMap, scale: Array, shift: Array, tag: str) -> LayerMap | None:
    """`op` followed by scale · x + shift on its planes; None where its parameters do not allow it.

    `weight` needs an axis O with one entry for each plane, and `bias`, if there is one, no other.
    """
    weight, bias = op.params().get("weight"), op.params().get("bias")
    if weight is None or weight.axes.count("O") != 1 or "bias" not in op.fields():
        return None
    planes = weight.axes.index("O")
    fits = scale.shape == shift.shape == (weight.shape[planes],)
    if not fits or not np.isfinite([scale, shift]).all() or (bias and bias.axes != "O"):
        return None
    along = tuple(-1 if axis == planes else 1 for axis in range(len(weight.shape)))
    product = weight.array.astype(np.float64) * scale.reshape(along)
    moved = shift if bias is None else bias.array.astype(np.float64) * scale + shift
    return op.evolve(
        weight=weight.with_array(product, weight.axes, weight.to, tag),
        bias=Param.constant("bias", moved, "O", trainable=True)
        if bias is None
        else bias.with_array(moved, "O", tag=tag),
    )
