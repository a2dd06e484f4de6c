"""Whether a walk keeps samples apart: one result each, or rows that are whole parts of samples.

nn.View counts elements: it makes two samples of an image that is twice too large, and a net with a
fixed-size layer then runs on a size that it was never made for.
"""

from __future__ import annotations

from enum import IntEnum
from itertools import accumulate
from operator import mul

from porter.ir.graph import Graph, Shape
from porter.ir.nested import leaves


class Fit(IntEnum):
    """How well an input type suits a model, better ones being larger."""

    REFUSED = 0
    """The model cannot be walked with it, or cuts samples into pieces of other ones."""
    ROWS = 1
    """It makes rows of whole pixels or steps, or something that has no batch."""
    SAMPLES = 2
    """Every output has one result for each sample."""


def fit_of(graph: Graph, batch: int | None) -> Fit:
    """How well the inputs of a walked graph suit its model; `batch` is their first extent.

    A batch of one may be dropped: nn.View(-1) makes one vector of it.
    """
    if cuts_samples(graph):
        return Fit.REFUSED
    outputs = [value.type.shape for value in leaves(graph.outputs)]
    is_kept = all(shape[:1] == (batch,) or (batch == 1 == len(shape)) for shape in outputs)
    return Fit.SAMPLES if is_kept else Fit.ROWS


def cuts_samples(graph: Graph) -> bool:
    """Whether a layer regroups elements so that a sample begins inside another."""
    return any(
        node.op.regroups and not keeps_borders(node.inputs[0].shape, node.outputs[0].shape)
        for node in graph.nodes
    )


def keeps_borders(before: Shape, after: Shape) -> bool:
    """Whether the first axis of a reshaped tensor merges whole axes, or is part of the first.

    6×8 from 2×3×8 does, as 2×4×6 from 8×6; 4×12 from 2×3×8 does not: its rows end inside planes.
    """
    if not before or not after:
        return True
    merged = after[0] in accumulate(before, mul)
    return merged or before[0] in accumulate(after, mul)


def mixes_axes(before: Shape, after: Shape) -> bool:
    """Whether a reshape cuts an axis in two and joins both parts to others.

    164×56 from 4×56×41 does, as from any size that a net was not made for; 164×9 from 4×41×9 joins
    whole axes, and 24×21 from 2×4×63 cuts rows of 21 that stand alone.
    """
    ends, others = ({1, *accumulate(shape, mul)} for shape in (before, after))
    for end in others - ends:
        first = max(each for each in ends if each < end)
        last = min((each for each in ends if each > end), default=end)
        if end % first or last % end or not {first, last} & others:
            return True
    return False


def mixes_any(graph: Graph) -> bool:
    """Whether a layer mixes axes."""
    return any(
        node.op.regroups and mixes_axes(node.inputs[0].shape, node.outputs[0].shape)
        for node in graph.nodes
    )
