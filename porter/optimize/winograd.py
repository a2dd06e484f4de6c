"""3×3 convolutions by Winograd's F(4×4, 3×3): 36 multiplications where 144 are asked for.

The image is cut into tiles of 4×4 outputs, which see 6×6 inputs. With the matrices of toom_cook.py,
T tiles, I input and O output planes, in matrix products alone:

    gather     x             → d [36, T·I]        the tiles, and the border in front, in one gather
    input      Bᵀ d          → v [36, T, I]
    filters    G w           → u [36, I, O]
    planes     v u           → m [36, T, O]       36 products: all the arithmetic that is left
    output     Aᵀ m          → y [16, T·O]        4×4 pixels of every tile
    transpose  y             → N×H×W×O            tiles that reach over the edge are cut

What is saved grows with the planes, I·O for each pixel; what is spent on moving tiles grows with
I + O, and the filters' transform does not depend on the image. `pays` weighs this; the layers for
which it does not pay, and pictures too small, are convolved directly.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from porter.graph import Graph, Node
from porter.layer import LayerMap
from porter.layout import Site, size
from porter.optimize.borders import GatheredBorder
from porter.optimize.respelled import Respelled, is_image_batch, pairs
from porter.optimize.roles import PlainConvolution, plain_convolution
from porter.optimize.toom_cook import Transforms, transforms

TILE, TAPS = 4, 3
SEEN = TILE + TAPS - 1

# Nanoseconds on one core of an x86 server with AVX-512, fitted to measurements of 64…256 planes;
# only their ratios matter.
DIRECT = 8.5e-5
"""For each pixel and pair of planes: nine multiplications by oneDNN's convolution."""
PRODUCT = 2.1e-5
"""For each pixel and pair of planes: the 36/16 that are left."""
MOVED = 2.5e-3
"""For each pixel and plane, in and out: gather, transforms, transpose."""
FILTER = 1.8e-2
"""For each pair of planes: the filters' transform."""
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

    def apply(self, tf: Any, x: Any, at: Site) -> Any:
        found, edges = self.convolution, self.edges()
        height, width = (size(tf, x, axis) + sum(edges[axis - 1]) - TAPS + 1 for axis in (1, 2))
        least = smallest_image(*found.weight.shape[1::-1])

        def tiled() -> Any:
            return self.tiled(tf, x, at, height, width)

        def direct() -> Any:
            whole = x if self.border is None else self.border.apply(tf, x, at)
            return tf.nn.conv2d(whole, at.variable(found.weight), 1, self.padding())

        pixels = height * width
        if isinstance(pixels, int):
            out = tiled() if pixels >= least else direct()
        else:
            out = tf.cond(tf.greater_equal(pixels, int(least)), tiled, direct)
        out = tf.ensure_shape(out, [x.shape[0], None, None, found.weight.shape[0]])
        return out if found.bias is None else tf.nn.bias_add(out, at.variable(found.bias))

    def padding(self) -> list[list[int]]:
        """The convolution's own zeros."""
        return [[0, 0], *([pad, pad] for pad in self.convolution.pad), [0, 0]]

    def edges(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """What is added in front of and behind height and width."""
        if self.border is not None:
            (_, top, bottom), (_, left, right) = self.border.border.edges()
            return (top, bottom), (left, right)
        down, right = self.convolution.pad
        return (down, down), (right, right)

    def tiled(self, tf: Any, x: Any, at: Site, height: Any, width: Any) -> Any:
        """By Winograd's algorithm; `height` and `width` are the output's."""
        outputs, inputs = self.convolution.weight.shape[:2]
        down, across = (height + TILE - 1) // TILE, (width + TILE - 1) // TILE
        output, filters, tiles = (
            tf.constant(each, x.dtype)
            for each in (matrices().output, matrices().filters, matrices().input)
        )
        seen = tf.reshape(self.gathered(tf, x, down, across), [SEEN**2, -1])
        v = tf.reshape(tf.matmul(tiles, seen), [SEEN**2, -1, inputs])
        weight = tf.reshape(at.variable(self.convolution.weight), [TAPS**2, inputs * outputs])
        u = tf.reshape(tf.matmul(filters, weight), [SEEN**2, inputs, outputs])
        m = tf.reshape(tf.matmul(v, u), [SEEN**2, -1])
        y = tf.reshape(tf.matmul(output, m), tf.stack([TILE, TILE, -1, down, across, outputs]))
        whole = tf.reshape(
            tf.transpose(y, [2, 3, 0, 4, 1, 5]),
            tf.stack([-1, down * TILE, across * TILE, outputs]),
        )
        return tf.slice(whole, [0, 0, 0, 0], tf.stack([-1, height, width, -1]))

    def gathered(self, tf: Any, x: Any, down: Any, across: Any) -> Any:
        """The pixels that tiles see, as 6 × 6 × N × tiles down × tiles across × planes."""
        edges = self.edges()
        if self.border is None:
            x = tf.pad(x, self.padding())
            edges = ((0, 0), (0, 0))
        samples, height, width = (size(tf, x, axis) for axis in range(3))
        rows = self.places(tf, down, height, *edges[0]) * width
        columns = self.places(tf, across, width, *edges[1])
        first = tf.range(samples) * (height * width)
        places = (
            tf.reshape(rows, tf.stack([SEEN, 1, 1, down, 1]))
            + tf.reshape(columns, tf.stack([1, SEEN, 1, 1, across]))
            + tf.reshape(first, [1, 1, -1, 1, 1])
        )
        return tf.gather(tf.reshape(x, [-1, x.shape[3]]), places)

    def places(self, tf: Any, tiles: Any, extent: Any, before: int, behind: int) -> Any:
        """Which of `extent` rows stands at each of six places of every tile.

        What a tile sees beyond the border does not reach the outputs that are kept.
        """
        starts = tf.range(tiles) * TILE - before
        places = tf.expand_dims(tf.range(SEEN), 1) + tf.expand_dims(starts, 0)
        places = tf.minimum(places, extent + (behind - 1))
        if self.border is None:
            return places
        return self.border.border.sources(tf, places, extent)


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
