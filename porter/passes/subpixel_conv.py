"""Convolutions with few output planes, computed 2×2 pixels at a time.

Vector units compute 16 planes at once: a convolution with 3 output planes wastes most of them. Four
shifted copies of its k×k filters, in (k+1)×(k+1) with stride 2, compute 12 planes, which are the
2×2 pixels of the 3:

    y[2p + a, 2q + b, o] = Σ w'[i, j, k, (a, b, o)] · x[2p + i, 2q + j, k],
    w'[i, j, k, (a, b, o)] = w[i - a, j - b, k, o], zero outside of w

An odd row or column is computed from a border of zeros and cut off.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from porter.ir.graph import Graph, Node
from porter.ir.layer_map import LayerMap
from porter.ir.layout import OpContext, size
from porter.passes.matchers import PlainConvolution, plain_convolution
from porter.passes.replacement_ops import ReplacementOp, is_image_batch

MAX_PLANES = 4
"""4·4 planes fill a vector register of 16 floats."""
SMALLEST = 2
"""A 1×1 kernel would grow fourfold."""


class SubpixelConvolution(ReplacementOp):
    """A convolution of stride 1 with few output planes, as a strided one and depth-to-space."""

    def __init__(self, original: LayerMap, convolution: PlainConvolution) -> None:
        super().__init__(original)
        self.convolution = convolution

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        found = self.convolution
        filters = at.variable(found.weight)
        planes = filters.shape[-1]
        shifted = [
            tf.pad(filters, [[down, 1 - down], [right, 1 - right], [0, 0], [0, 0]])
            for down in (0, 1)
            for right in (0, 1)
        ]
        sizes = [
            size(tf, x, axis) + 2 * pad - kernel + 1
            for axis, pad, kernel in zip((1, 2), found.pad, found.kernel, strict=True)
        ]
        edges = [[pad, pad + n % 2] for pad, n in zip(found.pad, sizes, strict=True)]
        whole = tf.pad(x, [[0, 0], *edges, [0, 0]])
        out = tf.nn.conv2d(whole, tf.concat(shifted, axis=-1), strides=2, padding="VALID")
        if found.bias is not None:
            out = tf.nn.bias_add(out, tf.tile(at.variable(found.bias), [4]))
        pixels = tf.nn.depth_to_space(out, 2)
        cut = tf.slice(pixels, [0, 0, 0, 0], tf.stack([-1, *sizes, -1]))
        return tf.ensure_shape(cut, [x.shape[0], None, None, planes])


def widen_few_planes(graph: Graph) -> Graph:
    """Rewrite every convolution of stride 1 with at most four output planes."""
    return replace(graph, nodes=tuple(map(widened, graph.nodes)))


def widened(node: Node) -> Node:
    """The node, rewritten if it has few output planes."""
    found = plain_convolution(node.op) if is_image_batch(node) else None
    if found is None or found.stride != (1, 1) or found.weight.shape[0] > MAX_PLANES:
        return node
    if min(found.kernel) < SMALLEST or found.weight.shape[1] <= MAX_PLANES:
        return node
    return replace(node, op=SubpixelConvolution(node.op, found))
