"""Full convolutions with many input planes, as matrix products and a sum of shifted images.

TensorFlow computes them as the gradient of a convolution, for which oneDNN reorders all filters at
every call. The decoder of a U-Net has 4×4 filters between 1024 and 512 planes for images of a few
pixels: there the reordering takes most of the time. One product for each place k, l of the kernel
reads them as they are:

    c[k, l, o, p, q] = Σ w[k, l, o, i] · x[p, q, i]
    y[s·p + k, s·q + l, o] += c[k, l, o, p, q]

Where the kernel is t strides long, columns k = s·u + a lie s·u rows further down. For each of the
t×t pairs (u, v) the columns are an image by themselves, and these images are added up.

Columns take k·l·O numbers for each pixel of x, written and read once; the product takes I times as
many multiplications. `MIN_PLANES` weighs these, measured with 64 to 1024 planes on images of 1×1
to 128×128: from there on it is never slower.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from porter.ir.graph import Graph, Node
from porter.ir.layer_map import LayerMap
from porter.ir.layout import OpContext, size
from porter.passes.matchers import Deconvolution, deconvolution
from porter.passes.replacement_ops import ReplacementOp, is_image_batch

MIN_PLANES = 512
"""Input planes from which the product outweighs its columns."""


class MatrixDeconvolution(ReplacementOp):
    """A full convolution as a product of its pixels and its filters."""

    def __init__(self, original: LayerMap, deconvolution: Deconvolution) -> None:
        super().__init__(original)
        self.deconvolution = deconvolution

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        found = self.deconvolution
        inputs, outputs = found.weight.shape[:2]
        samples, height, width = (size(tf, x, axis) for axis in range(3))
        filters = tf.reshape(at.variable(found.weight), [-1, outputs, inputs])
        columns = tf.matmul(filters, tf.reshape(x, [1, -1, inputs]), transpose_b=True)
        whole = self.added(tf, columns, samples, height, width)
        extents = [
            (extent - 1) * stride + kernel - 2 * pad + adj
            for extent, stride, kernel, pad, adj in zip(
                (height, width), found.stride, found.kernel, found.pad, found.adj, strict=True
            )
        ]
        out = tf.slice(whole, [0, *found.pad, 0], tf.stack([-1, *extents, -1]))
        if found.bias is not None:
            out = tf.nn.bias_add(out, at.variable(found.bias))
        free = [None if not isinstance(each, int) else each for each in extents]
        return tf.ensure_shape(out, [x.shape[0], *free, outputs])

    def added(self, tf: Any, columns: Any, samples: Any, height: Any, width: Any) -> Any:
        """The uncropped output, N × (H − 1 + t)·s × (W − 1 + t)·s × O.

        Of columns k·l × O × N·H·W.
        """
        down, right = self.deconvolution.stride
        tall, wide = (
            kernel // stride
            for kernel, stride in zip(
                self.deconvolution.kernel, self.deconvolution.stride, strict=True
            )
        )
        outputs = self.deconvolution.weight.shape[1]
        split = tf.stack([tall, down, wide, right, outputs, samples, height, width])
        pixels = tf.transpose(tf.reshape(columns, split), [0, 2, 5, 6, 1, 7, 3, 4])
        image = tf.stack([samples, height * down, width * right, outputs])
        shifted = []
        for u in range(tall):
            rows = [u * down, (tall - 1 - u) * down]
            for v in range(wide):
                edges = [[0, 0], rows, [v * right, (wide - 1 - v) * right], [0, 0]]
                shifted.append(tf.pad(tf.reshape(pixels[u, v], image), edges))
        return tf.add_n(shifted)


def multiply_deconvolutions(graph: Graph) -> Graph:
    """Rewrite every full convolution of image batches with many input planes."""
    return replace(graph, nodes=tuple(map(multiplied, graph.nodes)))


def multiplied(node: Node) -> Node:
    """The node, rewritten if it is such a convolution."""
    found = deconvolution(node.op) if is_image_batch(node) else None
    if found is None or not found.is_whole or found.weight.shape[0] < MIN_PLANES:
        return node
    return replace(node, op=MatrixDeconvolution(node.op, found))
