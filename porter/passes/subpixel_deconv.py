"""Full convolutions to few planes, as a convolution to all pixels of a stride at once.

TensorFlow computes them as the gradient of a convolution, whose inner loops run over the output
planes: one or three leave most of a vector register empty. With stride s, row s·q + a of the output
reads rows q + d of the input through rows j = a + pad - s·d of the kernel, where there are such:

    y[s·q + a, s·r + b, o] = Σ w'[d, e, i, (a, b, o)] · x[q + d, r + e, i],
    w'[d, e, i, (a, b, o)] = w[a + pad - s·d, b + pad - s·e, i, o], zero outside of w

which is a convolution of stride 1 to s·s·O planes, and depth-to-space. On two cores it takes 0.28
of the time for the last layer of FSRCNN, 9×9 with stride 3 from 56 planes to one at 256×256, and
0.6 to 0.8 for 4×4 with stride 2 from 64 planes to three, from 8×8 to 128×128. To 16 to 64 planes
it takes 1.6 to 2 times as long.

Source: W. Shi et al., Is the deconvolution layer the same as a convolutional layer?, 2016.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from porter.ir.fields import Array
from porter.ir.graph import Graph, Node
from porter.ir.layer_map import LayerMap
from porter.ir.layout import OpContext, size
from porter.passes.matchers import Deconvolution, deconvolution
from porter.passes.replacement_ops import ReplacementOp, is_image_batch
from porter.passes.subpixel_conv import MAX_PLANES


class SubpixelDeconvolution(ReplacementOp):
    """A full convolution with few output planes, as a convolution and depth-to-space."""

    def __init__(self, original: LayerMap, deconvolution: Deconvolution) -> None:
        super().__init__(original)
        self.deconvolution = deconvolution

    @cached_property
    def taps(self) -> tuple[Taps, Taps]:
        """Which rows and which columns of the kernel are read where."""
        found = self.deconvolution
        each = zip(found.kernel, found.stride, found.pad, found.adj, strict=True)
        down, right = (Taps(*sizes) for sizes in each)
        return down, right

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        found, (down, right) = self.deconvolution, self.taps
        stride, (inputs, outputs) = down.stride, found.weight.shape[:2]
        filters = tf.pad(at.variable(found.weight), [[0, 1], [0, 1], [0, 0], [0, 0]])
        rows = tf.gather(filters, down.places.ravel(), axis=0)
        spread = tf.gather(rows, right.places.ravel(), axis=1)
        split = [stride, down.count, stride, right.count, outputs, inputs]
        merged = [down.count, right.count, inputs, stride**2 * outputs]
        kernel = tf.reshape(tf.transpose(tf.reshape(spread, split), [1, 3, 5, 0, 2, 4]), merged)
        whole = tf.pad(x, [[0, 0], down.edges, right.edges, [0, 0]])
        out = tf.nn.conv2d(whole, kernel, strides=1, padding="VALID")
        if found.bias is not None:
            out = tf.nn.bias_add(out, tf.tile(at.variable(found.bias), [stride**2]))
        pixels = tf.nn.depth_to_space(out, stride)
        if down.is_whole and right.is_whole:
            return pixels
        sizes = [each.extent(size(tf, x, axis)) for axis, each in ((1, down), (2, right))]
        cut = tf.slice(pixels, [0, 0, 0, 0], tf.stack([-1, *sizes, -1]))
        free = [each if isinstance(each, int) else None for each in sizes]
        return tf.ensure_shape(cut, [x.shape[0], *free, outputs])


class Taps:
    """Along one axis: for each of the `stride` pixels the places of the kernel that it reads."""

    def __init__(self, kernel: int, stride: int, pad: int, adj: int) -> None:
        self.stride = stride
        self.beyond = kernel - 2 * pad + adj
        """How many pixels more than (extent - 1)·stride the output has."""
        first = -((kernel - 1 - pad) // stride)
        last = (stride - 1 + pad) // stride
        self.count = last - first + 1
        pixels, steps = np.arange(stride)[:, None], np.arange(first, last + 1)
        found = pixels + pad - stride * steps
        # What lies outside of the kernel is read from the zeros behind it.
        self.places: Array = np.where((found >= 0) & (found < kernel), found, kernel)
        self.edges = [-first, -(-self.beyond // stride) - 1 + last]
        """Zeros before and behind the input."""

    def extent(self, extent: Any) -> Any:
        """The output's, of the input's."""
        return (extent - 1) * self.stride + self.beyond

    @property
    def is_whole(self) -> bool:
        """Whether the output ends with a whole stride."""
        return self.beyond % self.stride == 0


def widen_few_deconvolved_planes(graph: Graph) -> Graph:
    """Rewrite every full convolution of image batches to at most four planes."""
    return replace(graph, nodes=tuple(map(widened, graph.nodes)))


def widened(node: Node) -> Node:
    """The node, rewritten if it has few output planes and enlarges the image."""
    found = deconvolution(node.op) if is_image_batch(node) else None
    if found is None or found.weight.shape[1] > MAX_PLANES or found.weight.shape[0] <= MAX_PLANES:
        return node
    if found.stride[0] != found.stride[1] or found.stride[0] < 2:
        return node
    op = SubpixelDeconvolution(node.op, found)
    fits = all(min(each.edges) >= 0 for each in op.taps)
    return replace(node, op=op) if fits else node
