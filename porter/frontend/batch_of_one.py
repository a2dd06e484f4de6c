"""Nets that compute something else of a batch of one, because Torch drops its axis.

`nn.Squeeze` takes a batch of one away with every other axis of one. Mostly that shows in shapes
only. But `nn.Replicate(3, 2)` behind it then repeats along another axis of the image. A port has an
open batch and treats one sample as each of many; such a net is verified on larger batches.
"""

from __future__ import annotations

from porter.errors import WalkError
from porter.frontend.walker import Model
from porter.ir.graph import TensorType
from porter.ir.nested import Nested

Sizes = tuple[int | None, ...]
"""A shape in which sizes are None that only numbers decide (nn.MaskedSelect)."""


def first_difference(model: Model, one: Nested[TensorType], two: Nested[TensorType]) -> str | None:
    """The first module that makes no smaller batch of the same out of a batch of one; None if none.

    `one` and `two` are input types with a batch of one and of two.
    """
    try:
        alone, pair = model.walk(one), model.walk(two)
    except WalkError:
        return None
    if len(alone.nodes) != len(pair.nodes):
        return None
    for node, other in zip(alone.nodes, pair.nodes, strict=True):
        if len(node.outputs) != len(other.outputs):  # nn.SplitTable along the batch itself
            return None
        for value, expected in zip(node.outputs, other.outputs, strict=True):
            if not is_one_of(value.type.shape, expected.type.shape):
                return f"{node.path or 'the root'} ({node.typename})"
    return None


def is_one_of(shape: Sizes, batch: Sizes) -> bool:
    """Whether a tensor is one sample of two, with the batch's axis or without it."""
    if len(shape) == len(batch):
        sizes = zip(shape, batch, strict=True)
        return all(None in (a, b) or a == b or (a or 0) * 2 == b for a, b in sizes)
    return shape == batch[1:]
