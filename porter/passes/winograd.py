"""3×3 convolutions by Winograd's F(4×4, 3×3): 36 multiplications where 144 are asked for.

The image is cut into tiles of 4×4 outputs, which see 6×6 inputs. With the matrices of toom_cook.py,
T tiles, I input and O output planes:

    gather     x             → d [T, 36, I]       the tiles, and the border in front, in one gather
    input      Bᵀ d          → v [T, 36, I]       a matrix product for each tile
    filters    G w           → u [I, 36, O]
    planes     v u           → m [T, 36, O]       all the arithmetic that is left
    output     Aᵀ m          → y [T, 16, O]       a matrix product for each tile

`planes` are 36 matrix products, one for each of the 36 numbers. As a convolution of 1×1 in 36
groups they take tiles as they lie, and three quarters of the time of batched matrix products. A
tile's numbers lie together, so that what one step makes of it is in the cache when it is used.

The output lies as tiles.py tells; tiled.py hands it on like that.

What is saved grows with the planes, I·O for each pixel; what is spent on moving tiles grows with
I + O, and the filters' transform does not depend on the image. `smallest_image` weighs this.
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
from porter.passes.replacement_ops import Respelled, is_image_batch, pairs
from porter.passes.toom_cook import Transforms, transforms
from porter.passes.winograd_tiles import TILE, Tiles

TAPS = 3
SEEN = TILE + TAPS - 1

# Nanoseconds on two cores of an x86 server with AVX-512, fitted to measurements of 32…256 planes;
# only their ratios matter.
DIRECT = 0.049
"""For each pixel and pair of planes: nine multiplications by oneDNN's convolution."""
PRODUCT = 0.0096
"""For each pixel and pair of planes: the 36/16 that are left."""
MOVED = 1.4
"""For each pixel and plane, in and out: gather and transforms."""
FILTER = 40.0
"""For each pair of planes: the filters' transform, and another order for oneDNN."""
MARGIN = 0.9
"""Winograd's algorithm must be estimated at no more than this part of the direct time."""


def smallest_image(inputs: int, outputs: int) -> float:
    """From how many output pixels on Winograd's algorithm pays; infinite where it never does."""
    gained = MARGIN * DIRECT * inputs * outputs - PRODUCT * inputs * outputs
    gained -= MOVED * (inputs + outputs)
    return FILTER * inputs * outputs / gained if gained > 0 else float("inf")


@cache
def matrices() -> Transforms:
    return transforms(TILE, TAPS)


class WinogradConvolution(Respelled):
    """A 3×3 convolution of stride 1, and the mirrored `border` in front of it, if there is one."""

    def __init__(
        self, original: LayerMap, convolution: PlainConvolution, border: GatheredBorder | None
    ) -> None:
        super().__init__(original)
        self.convolution = convolution
        self.border = border

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        """Directly: for images that are too small to gain anything."""
        whole = x if self.border is None else self.border.apply(tf, x, at)
        return self.original.apply(tf, whole, at=at)

    def tiled(self, tf: Any, x: Any, at: OpContext, tiles: Tiles, cut: bool) -> Any:
        """Tiled output of an image, or of what is `cut` into the same tiles."""
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
        v = tf.reshape(tf.matmul(by_input, d), [1, -1, 1, SEEN**2 * inputs])
        m = tf.nn.conv2d(v, tf.reshape(u, [1, 1, inputs, SEEN**2 * outputs]), 1, "VALID")
        out = tiles.stored(tf.matmul(by_output, tf.reshape(m, [-1, SEEN**2, outputs])))
        found = self.convolution.bias
        return out if found is None else tf.nn.bias_add(out, at.variable(found))

    def edges(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """What is added in front of and behind height and width."""
        if self.border is not None:
            (_, top, bottom), (_, left, right) = self.border.border.edges()
            return (top, bottom), (left, right)
        down, right = self.convolution.pad
        return (down, down), (right, right)

    @property
    def keeps_size(self) -> bool:
        """Whether the output is as large as the input."""
        return all(sum(edges) == TAPS - 1 for edges in self.edges())

    def made(self, tf: Any, x: Any) -> tuple[Any, Any]:
        """Height and width of the output for an image."""
        height, width = (size(tf, x, i + 1) + sum(self.edges()[i]) - TAPS + 1 for i in (0, 1))
        return height, width

    def places(self, tf: Any, x: Any, tiles: Tiles, cut: bool) -> tuple[Any, Any]:
        """Where the pixels lie that tiles see, tiles × 36; and for a border of zeros which of them
        there are, as ones and zeros of tiles × 36 × 1. Made once, for all layers alike.

        What a tile sees beyond the border does not reach the outputs that are kept.
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
            seen = tiles.windows(n, SEEN, before)
            inside.append(tf.logical_and(seen >= 0, seen < extent))
            if self.border is None:
                sources.append(tf.clip_by_value(seen, 0, extent - 1))
            else:
                seen = tf.minimum(seen, extent + (behind - 1))
                sources.append(self.border.border.sources(tf, seen, extent))
        places = tiles.addresses(sources[0], sources[1], None if cut else extents)
        adds_zeros = self.border is None and any(self.convolution.pad)
        return places, tf.expand_dims(tiles.both(*inside), 2) if adds_zeros else None


def convolve_by_winograd(graph: Graph) -> Graph:
    """Every 3×3 convolution of stride 1 with enough planes respelled, with the border before it."""
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
    """Whether there are images that are large enough."""
    geometry = (found.kernel, found.stride) == ((TAPS, TAPS), (1, 1))
    return geometry and np.isfinite(smallest_image(*found.weight.shape[1::-1])).item()
