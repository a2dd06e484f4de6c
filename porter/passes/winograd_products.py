"""3×3 convolutions by Winograd's F(4×4, 3×3) with filters that were transformed beforehand.

For graphs whose weights are constants, and images of one size: there nothing is chosen when the
graph runs, and the filters, 36 numbers in place of 9, are ready in the file. With N samples, T
tiles, I input and O output planes, and the matrices of toom_cook.py:

    gather     x         → d [N, 36, T, I]      the tiles of the padded image
    input      Bᵀ d      → v [N, 36, T, I]      one matrix product of 36 rows for each sample
    planes     v · u     → m [N, 36, T, O]      36 matrix products, one for each position in a tile
    output     Aᵀ m      → y [N, 16, T, O]      one matrix product of 16 rows, then as an image

winograd.py keeps tiles together, for large images; here positions are together, so that the matrix
products read the filters as they are stored. `pays` weighs their costs.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from porter.ir.fields import Array, Param
from porter.ir.graph import Graph, Node
from porter.ir.layer_map import LayerMap
from porter.ir.layout import OpContext
from porter.passes.matchers import PlainConvolution, plain_convolution
from porter.passes.replacement_ops import ReplacementOp, is_image_batch
from porter.passes.winograd import TAPS, WINDOW, matrices
from porter.passes.winograd_tiles import TILE

# Nanoseconds on two cores of an x86 server with AVX-512, fitted to 64…512 planes on 14×14…224×224;
# only their ratios matter.
DIRECT = 0.17
"""For each pixel and pair of planes: nine multiplications in oneDNN's convolution."""
PRODUCT = 0.03
"""For each position of a tile and pair of planes."""
MOVED = 1.3
"""For each position of a tile and plane, in and out: gather and transforms."""
READ = 0.37
"""For each transformed filter's number: large ones come from memory."""
MARGIN = 0.8
"""Filters take four times the space, so a little that is gained is not enough."""


class WinogradProduct(ReplacementOp):
    """A 3×3 convolution of stride 1 over images of `height` × `width` before padding."""

    def __init__(
        self, original: LayerMap, convolution: PlainConvolution, height: int, width: int
    ) -> None:
        super().__init__(original)
        self.convolution = convolution
        self.height, self.width = height, width

    @cached_property
    def filters(self) -> Param:
        """The transformed filters, 36 × I × O."""
        weight = self.convolution.weight
        outputs, inputs = weight.shape[:2]
        taps = weight.array.astype(np.float64).reshape(outputs * inputs, TAPS**2)
        positions = (matrices().filters @ taps.T).reshape(-1, outputs, inputs)
        array = np.ascontiguousarray(positions.transpose(0, 2, 1)).astype(weight.array.dtype)
        return weight.with_array(array, axes="PIO", tag="winograd")

    def params(self) -> dict[str, Param]:
        others = {n: param for n, param in self.original.params().items() if n != "weight"}
        return {"weight": self.filters, **others}

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        outputs, inputs = self.convolution.weight.shape[:2]
        extents = self.extents()
        down, across = (-(-extent // TILE) for extent in extents)
        tiles = down * across
        by_input, by_output = (
            tf.constant(each, x.dtype) for each in (matrices().input, matrices().output)
        )
        padded = tf.pad(x, [[0, 0], *self.edges(down, across), [0, 0]])
        pixels = tf.reshape(padded, [-1, math.prod(padded.shape[1:3]), inputs])
        d = tf.gather(pixels, tf.constant(places(down, across)), axis=1)
        v = tf.matmul(by_input, tf.reshape(d, [-1, WINDOW**2, tiles * inputs]))
        v = tf.reshape(v, [-1, WINDOW**2, tiles, inputs])
        m = tf.matmul(v, at.variable(self.filters))
        y = tf.matmul(by_output, tf.reshape(m, [-1, WINDOW**2, tiles * outputs]))
        y = tf.reshape(y, [-1, TILE, TILE, down, across, outputs])
        whole = [-1, down * TILE, across * TILE, outputs]
        image = tf.reshape(tf.transpose(y, [0, 3, 1, 4, 2, 5]), whole)
        if whole[1:3] != extents:
            image = tf.slice(image, [0, 0, 0, 0], [-1, *extents, -1])
        found = self.convolution.bias
        return image if found is None else tf.nn.bias_add(image, at.variable(found))

    def extents(self) -> list[int]:
        """Height and width of the output."""
        pads = zip((self.height, self.width), self.convolution.pad, strict=True)
        return [extent + 2 * pad - TAPS + 1 for extent, pad in pads]

    def pays(self) -> bool:
        """Whether it is faster than the convolution."""
        outputs, inputs = self.convolution.weight.shape[:2]
        positions = WINDOW**2 * math.prod(-(-extent // TILE) for extent in self.extents())
        direct = DIRECT * math.prod(self.extents()) * inputs * outputs
        moved = MOVED * positions * (inputs + outputs)
        filters = (PRODUCT * positions + READ * WINDOW**2) * inputs * outputs
        return moved + filters < MARGIN * direct

    def edges(self, down: int, across: int) -> list[list[int]]:
        """Zeros before and behind, for height and width: the border, and to whole tiles."""
        return [
            [pad, tiles * TILE + TAPS - 1 - extent - pad]
            for tiles, extent, pad in zip(
                (down, across), (self.height, self.width), self.convolution.pad, strict=True
            )
        ]


def places(down: int, across: int) -> Array:
    """The pixels that tiles read, positions × tiles, in a padded image, row by row."""
    rows, columns = (np.arange(n) * TILE for n in (down, across))
    width, window = across * TILE + TAPS - 1, np.arange(WINDOW)
    down_to = (window[:, None] + rows)[:, None, :, None] * width
    right_to = (window[:, None] + columns)[None, :, None, :]
    found: Array = (down_to + right_to).reshape(WINDOW**2, -1).astype(np.int32)
    return found


def multiply_convolutions(graph: Graph) -> Graph:
    """Rewrite 3×3 convolutions of stride 1 over images of one size, where that pays."""
    return replace(graph, nodes=tuple(map(multiplied, graph.nodes)))


def multiplied(node: Node) -> Node:
    """The node, rewritten if it is such a convolution."""
    found = plain_convolution(node.op) if is_image_batch(node) else None
    if found is None or (found.kernel, found.stride) != ((TAPS, TAPS), (1, 1)):
        return node
    height, width = node.inputs[0].type.shape[2:]
    if height is None or width is None:
        return node
    op = WinogradProduct(node.op, found, height, width)
    return replace(node, op=op) if op.pays() else node
