"""Padding by elements of the image itself, without one gather for each axis.

*Gathered*: each pixel of the padded image is a pixel of the image; its row and column are combined
into an index into the flattened image. All planes of a pixel are copied at once.

*Joined*: the few rows of the border and the image are concatenated. This is for training, where the
gradient of a large gather is slow, and for LiteRT, whose fast path has no gather.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from porter.ir.graph import Graph
from porter.ir.layer_map import LayerMap
from porter.ir.layout import OpContext, size
from porter.passes.replacement_ops import ReplacementOp, is_image_batch


@runtime_checkable
class Mirrors(Protocol):
    """A border whose elements are elements of the image."""

    def edges(self) -> Iterator[tuple[int, int, int]]:
        """Each spatial axis, counted from the end, with the padding before and after it."""

    def source(self, i: int, n: int) -> int:
        """Which of n elements is read at i, where -1 is before the first."""

    def sources(self, tf: Any, places: Any, n: Any) -> Any:
        """`source` for a vector of places, and for an `n` known only when the graph runs."""


FEW = 4
"""Up to this many rows are sliced one by one."""


class GatheredBorder(ReplacementOp):
    """A border by one gather over both axes."""

    def __init__(self, original: LayerMap, border: Mirrors) -> None:
        super().__init__(original)
        self.border = border

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        (_, top, bottom), (_, left, right) = self.border.edges()
        height, width, planes = size(tf, x, 1), size(tf, x, 2), x.shape[3]
        rows = self.border.sources(tf, tf.range(-top, height + bottom), height)
        columns = self.border.sources(tf, tf.range(-left, width + right), width)
        places = tf.expand_dims(rows * width, 1) + columns
        pixels = tf.reshape(x, tf.stack([size(tf, x, 0), height * width, planes]))
        return tf.gather(pixels, places, axis=1)


class JoinedBorder(ReplacementOp):
    """A border by concatenation, whose rows are near the rows of the image that they repeat."""

    def __init__(self, original: LayerMap, border: Mirrors) -> None:
        super().__init__(original)
        self.border = border

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        for torch_axis, before, behind in self.border.edges():
            x = self.joined(tf, x, torch_axis + 3, before, behind)
        return x

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        """Images are cut in three: the gradient of that is a concatenation.

        That of a slice is an image of zeros around it, to be added.
        """
        for torch_axis, before, behind in self.border.edges():
            axis = torch_axis + 3
            near, far = before + 1, behind + 1
            n = x.shape[axis]
            if n is None or n < near + far:
                x = self.joined(tf, x, axis, before, behind)
            else:
                start, middle, end = tf.split(x, [near, n - near - far, far], axis)
                first = self.rows(tf, start, axis, near, range(-before, 0))
                last = self.rows(tf, end, axis, far, range(behind), far)
                x = tf.concat([*first, start, middle, end, *last], axis)
        return x

    def joined(self, tf: Any, x: Any, axis: int, before: int, behind: int) -> Any:
        """The border of one stored axis: -2 and -1 in Torch, H and W, are stored at 1 and 2."""
        n = size(tf, x, axis)
        near, far = (lesser(tf, n, edge + 1) for edge in (before, behind))
        first = self.rows(tf, part(tf, x, axis, 0, near), axis, near, range(-before, 0))
        end = part(tf, x, axis, n - far, far)
        last = self.rows(tf, end, axis, far, range(behind), far)
        return tf.concat([*first, x, *last], axis)

    def rows(self, tf: Any, x: Any, axis: int, n: Any, places: range, start: Any = 0) -> list[Any]:
        """The border's rows at `places`, counted from `start`, beside the n rows of `x`."""
        if not places:
            return []
        if isinstance(n, int) and len(places) <= FEW:
            found = [part(tf, x, axis, self.border.source(start + i, n), 1) for i in places]
            return [found[0] if len(found) == 1 else tf.concat(found, axis)]
        there = start + tf.range(places.start, places.stop)
        return [tf.gather(x, self.border.sources(tf, there, n), axis=axis)]


def lesser(tf: Any, n: Any, m: int) -> Any:
    return min(n, m) if isinstance(n, int) else tf.minimum(n, m)


def part(tf: Any, x: Any, axis: int, first: Any, extent: Any) -> Any:
    """`extent` rows along an axis of N×H×W×C, starting with `first`."""
    starts, extents = [0] * 4, [-1] * 4
    starts[axis], extents[axis] = first, extent
    return tf.slice(x, tf.stack(starts), tf.stack(extents))


def gather_borders(graph: Graph) -> Graph:
    """Replace every border of image batches by one gather over both axes."""
    return replace_borders(graph, GatheredBorder, lambda _: True)


def join_borders(graph: Graph) -> Graph:
    """Replace borders of image batches by concatenation, but for those that wrap around."""

    def is_near(op: LayerMap) -> bool:
        edges = [edge for _, *pair in op.edges() for edge in pair]  # type: ignore[attr-defined]
        return type(op).train is LayerMap.train and min(edges) >= 0

    return replace_borders(graph, JoinedBorder, is_near)


def replace_borders(
    graph: Graph, kind: type[GatheredBorder | JoinedBorder], fits: Callable[[LayerMap], bool]
) -> Graph:
    """The graph with the borders that fit replaced by `kind`."""
    nodes = (
        replace(node, op=kind(node.op, node.op))
        if isinstance(node.op, Mirrors) and is_image_batch(node) and fits(node.op)
        else node
        for node in graph.nodes
    )
    return replace(graph, nodes=tuple(nodes))
