"""The smallest images and shortest sequences that Torch takes, for inputs of free sizes.

TensorFlow does not refuse all that Torch refuses: a pooling of an image smaller than its window
makes an empty tensor, and what is behind may divide by its size. So a port asks before it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import count

from porter.frontend.dynamic import batches_behind_time
from porter.frontend.inputs import accepts
from porter.frontend.open_tables import Steps
from porter.frontend.walker import Model
from porter.ir.graph import FLOAT, Graph, TensorType
from porter.ir.nested import Nested, leaves, map_leaves

LeastSizes = Mapping[int, Mapping[int, int]]
"""The smallest extent by input, counted from 0, and axis in Torch's order. One is left out."""

FIRST_SPATIAL = 2
"""The axis of N×C×H×W and N×C×T×H×W from which on axes are heights, widths and depths."""


def least_sizes(model: Model, types: Nested[TensorType], graph: Graph) -> LeastSizes:
    """For every free axis of a model's inputs but the batch the least extent that it takes.

    And for the batch where steps are counted. Each is found by itself, with all others as in
    `types`.
    """
    counts_steps = any(isinstance(node.op, Steps) for node in graph.nodes)
    found: dict[int, dict[int, int]] = {}
    for position, (type, value) in enumerate(zip(leaves(types), leaves(graph.inputs), strict=True)):
        is_image = type.rank >= 4 and type.dtype == FLOAT
        first = 0 if counts_steps else FIRST_SPATIAL if is_image else 1
        for axis in range(first, type.rank):
            if value.type.shape[axis] is None:
                least = least_extent(model, types, position, axis)
                if least > 1:
                    found.setdefault(position, {})[axis] = least
    return found


def least_extent(model: Model, types: Nested[TensorType], position: int, axis: int) -> int:
    """The smallest extent of one axis of one input with which the model can be walked.

    Of inputs that must agree, as two images that are compared, the others change with it; and where
    it may be the batch behind time, that of the others.
    """
    flat = list(leaves(types))
    actual = flat[position].static[axis]
    alike = {j: axis for j, type in enumerate(flat) if type.rank == flat[position].rank}
    behind_time = batches_behind_time([*enumerate(flat)])
    together = [dict(places) for places in behind_time if (position, axis) in places]
    groups: list[dict[int, int]] = []
    for each in ({position: axis}, alike, *together):
        if each not in groups:
            groups.append(each)
    for extent in range(1, actual):
        for changed in groups:
            smaller = reduced(types, changed, actual - extent)
            if smaller is not None and accepts(model, smaller):
                return extent
    return actual


def reduced(
    types: Nested[TensorType], axes: Mapping[int, int], less: int
) -> Nested[TensorType] | None:
    """Types so much less long on an axis each, by position, if they can be."""
    if any(type.static[axes[j]] <= less for j, type in enumerate(leaves(types)) if j in axes):
        return None
    numbered = count()

    def one(type: TensorType) -> TensorType:
        axis = axes.get(next(numbered))
        if axis is None:
            return type
        extent = type.static[axis] - less
        return replace(type, shape=(*type.shape[:axis], extent, *type.shape[axis + 1 :]))

    return map_leaves(one, types)
