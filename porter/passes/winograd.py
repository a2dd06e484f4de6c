"""3×3 convolutions by Winograd's F(4×4, 3×3): 36 multiplications in place of 144.

The image is cut into tiles of 4×4 outputs, which depend on 6×6 inputs. With the matrices of
toom_cook.py, T tiles, I input and O output planes:

    gather     x             → d [T, 36, I]       the tiles, and the border in front, in one gather
    input      Bᵀ d          → v [T, 36, I]       a matrix product for each tile
    filters    G w           → u [I, 36, O]
    planes     v u           → m [T, 36, O]       all the remaining arithmetic
    output     Aᵀ m          → y [T, 16, O]       a matrix product for each tile

`planes` is 36 matrix products, one for each position in the tile. Written as a 1×1 convolution in
36 groups they read tiles without reordering, in three quarters of the time of batched matrix
products. A tile's numbers are contiguous, so that what one step computes is still in the cache when
the next reads it.

The output is stored as winograd_tiles.py says; winograd_regions.py passes it on in that form.

The savings grow with I·O for each pixel; the cost of moving tiles grows with I + O, and the
filters' transform does not depend on the image. `smallest_image` weighs these.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from porter.ir.graph import Graph, Node
from porter.ir.layer_map import LayerMap
from porter.ir.layout import OpContext, size
from porter.passes.borders import GatheredBorder
from porter.passes.matchers import PlainConvolution, plain_convolution
from porter.passes.replacement_ops import ReplacementOp, is_image_batch, pairs
from porter.passes.toom_cook import Transforms, transforms
from porter.passes.winograd_tiles import TILE, Tiles

TAPS = 3
WINDOW = TILE + TAPS - 1

# Nanoseconds on two cores of an x86 server with AVX-512, fitted to measurements of 32…256 planes;
# only their ratios matter.
DIRECT = 0.049
"""For each pixel and pair of planes: nine multiplications in oneDNN's convolution."""
PRODUCT = 0.0096
"""For each pixel and pair of planes: the remaining 36/16."""
MOVED = 1.4
"""For each pixel and plane, in and out: gather and transforms."""
FILTER = 40.0
"""For each pair of planes: the filters' transform, and their reordering for oneDNN."""
MARGIN = 0.9
"""Winograd's algorithm is used where its estimate is below this fraction of the direct time."""


def smallest_image(inputs: int, outputs: int) -> float:
    """The number of output pixels from which Winograd's algorithm pays off; infinite if never."""
    gained = MARGIN * DIRECT * inputs * outputs - PRODUCT * inputs * outputs
    gained -= MOVED * (inputs + outputs)
    return FILTER * inputs * outputs / gained if gained > 0 else float("inf")


@cache
def matrices() -> Transforms:
    return transforms(TILE, TAPS)


class WinogradConvolution(ReplacementOp):
    """A 3×3 convolution of stride 1, and the mirrored `border` in front of it, if there is one."""

    def __init__(
        self, original: LayerMap, convolution: PlainConvolution, border: GatheredBorder | None
    ) -> None:
        super().__init__(original)
        self.convolution = convolution
        self.border = border

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        """The direct convolution, for images too small to benefit."""
        whole = x if self.border is None else self.border.apply(tf, x, at)
        return self.original.apply(tf, whole, at=at)

    def tiled(self, tf: Any, x: Any, at: OpContext, tiles: Tiles, cut: bool) -> Any:
        """The output in tiles, of an image or of an input already `cut` into the same tiles."""
        outputs, inputs = self.convolution.weight.shape[:2]
        by_output, by_filters, by_input = (
            tf.constant(each, x.dtype)
            for each in (matrices().output, matrices().filters, matrices().input)
        )
        weight = tf.reshape(at.variable(self.convolution.weight), [TAPS**2, inputs, outputs])
        u = tf.matmul(by_filters, tf.transpose(weight, [1, 0, 2]))
        places, inside = self.places(tf, x, tiles, cut)
        d = tf.gather(tf.reshape(x, [-1, inputs]), places)
        d = d if inside is None else d * inside
        v = tf.reshape(tf.matmul(by_input, d), [1, -1, 1, WINDOW**2 * inputs])
        m = tf.nn.conv2d(v, tf.reshape(u, [1, 1, inputs, WINDOW**2 * outputs]), 1, "VALID")
        out = tiles.stored(tf.matmul(by_output, tf.reshape(m, [-1, WINDOW**2, outputs])))
        found = self.convolution.bias
        return out if found is None else tf.nn.bias_add(out, at.variable(found))

    def edges(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Padding before and after, for height and for width."""
        if self.border is not None:
            (_, top, bottom), (_, left, right) = self.border.border.edges()
            return (top, bottom), (left, right)
        down, right = self.convolution.pad
        return (down, down), (right, right)

    @property
    def keeps_size(self) -> bool:
        """Whether the output is as large as the input."""
        return all(sum(edges) == TAPS - 1 for edges in self.edges())

    def output_extents(self, tf: Any, x: Any) -> tuple[Any, Any]:
        """Height and width of the output for image `x`."""
        height, width = (size(tf, x, i + 1) + sum(self.edges()[i]) - TAPS + 1 for i in (0, 1))
        return height, width

    def places(self, tf: Any, x: Any, tiles: Tiles, cut: bool) -> tuple[Any, Any]:
        """Indices of the input pixels of each tile, tiles × 36; and, for a border of zeros, a mask
        of those inside the image, tiles × 36 × 1. Computed once for all layers of this geometry.

        Pixels beyond the border do not reach the outputs that remain.
        """
        key = (cut, self.edges(), None if self.border is None else type(self.border.border))
        if key not in tiles.cache:
            tiles.cache[key] = self.looked_up(tf, x, tiles, cut)
        found: tuple[Any, Any] = tiles.cache[key]
        return found

    def looked_up(self, tf: Any, x: Any, tiles: Tiles, cut: bool) -> tuple[Any, Any]:
        extents = (tiles.height, tiles.width) if cut else (size(tf, x, 1), size(tf, x, 2))
        sources, inside = [], []
        for n, extent, (before, behind) in zip(
            (tiles.down, tiles.across), extents, self.edges(), strict=True
        ):
            positions = tiles.windows(n, WINDOW, before)
            inside.append(tf.logical_and(positions >= 0, positions < extent))
            if self.border is None:
                sources.append(tf.clip_by_value(positions, 0, extent - 1))
            else:
                positions = tf.minimum(positions, extent + (behind - 1))
                sources.append(self.border.border.sources(tf, positions, extent))
        places = tiles.addresses(sources[0], sources[1], None if cut else extents)
        adds_zeros = self.border is None and any(self.convolution.pad)
        return places, tf.expand_dims(tiles.both(*inside), 2) if adds_zeros else None


def convolve_by_winograd(graph: Graph) -> Graph:
    """Rewrite 3×3 convolutions of stride 1 with enough planes, and the borders before them."""
    nodes: dict[int, Node] = {}
    for maker, node in pairs(graph):
        nodes[node.outputs[0].id] = node
        found = plain_convolution(node.op) if is_image_batch(node) else None
        if found is None or not pays(found):
            continue
        border = None
        if maker is not None and isinstance(maker.op, GatheredBorder) and found.pad == (0, 0):
            border = maker.op
            del nodes[maker.outputs[0].id]
            node = replace(node, inputs=maker.inputs, origin=(*maker.origin, *node.origin))
        op = WinogradConvolution(node.op, found, border)
        nodes[node.outputs[0].id] = replace(node, op=op)
    return replace(graph, nodes=tuple(nodes.values()))


def pays(found: PlainConvolution) -> bool:
    """Whether the algorithm pays off for images of some size."""
    geometry = (found.kernel, found.stride) == ((TAPS, TAPS), (1, 1))
    return geometry and np.isfinite(smallest_image(*found.weight.shape[1::-1])).item()
