"""Borders made of the image's own elements: one gather of pixels in place of one for each axis.

A pixel of the padded image is a pixel of the image; its place is computed for rows and columns and
combined to a place in the flattened image. All planes of a pixel are copied at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from porter.graph import Graph
from porter.layer import LayerMap
from porter.layout import Site, size
from porter.optimize.respelled import Respelled, is_image_batch


@runtime_checkable
class Mirrors(Protocol):
    """A border whose elements are elements of the image."""

    def edges(self) -> Iterator[tuple[int, int, int]]:
        """Each spatial axis, counted from the end, with what is added before and behind it."""

    def sources(self, tf: Any, places: Any, n: Any) -> Any:
        """Which of n elements stand at `places`, where -1 is before the first."""


class GatheredBorder(Respelled):
    """A border by one gather over both axes."""

    def __init__(self, original: LayerMap, border: Mirrors) -> None:
        super().__init__(original)
        self.border = border

    def apply(self, tf: Any, x: Any, at: Site) -> Any:
        (_, top, bottom), (_, left, right) = self.border.edges()
        height, width, planes = size(tf, x, 1), size(tf, x, 2), x.shape[3]
        rows = self.border.sources(tf, tf.range(-top, height + bottom), height)
        columns = self.border.sources(tf, tf.range(-left, width + right), width)
        places = tf.expand_dims(rows * width, 1) + columns
        pixels = tf.reshape(x, tf.stack([size(tf, x, 0), height * width, planes]))
        return tf.gather(pixels, places, axis=1)


def gather_borders(graph: Graph) -> Graph:
    """Every mirrored border of image batches respelled."""
    nodes = (
        replace(node, op=GatheredBorder(node.op, node.op))
        if isinstance(node.op, Mirrors) and is_image_batch(node)
        else node
        for node in graph.nodes
    )
    return replace(graph, nodes=tuple(nodes))
