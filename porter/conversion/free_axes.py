"""Which axes of a port's inputs are free, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from porter.frontend.inputs import accepts
from porter.frontend.walker import Model
from porter.ir.graph import FLOAT, Graph, TensorType
from porter.ir.nested import Nested, leaves, named_leaves

AXES = {
    1: ("length",),
    2: ("batch", "features"),
    4: ("batch", "planes", "height", "width"),
    5: ("batch", "planes", "depth", "height", "width"),
}
"""What the axes of Torch's tensors usually are, by rank."""


def free_axes(graph: Graph) -> dict[str, list[str]]:
    """For every input of a graph the axes that may have any extent, by name in Torch's order."""
    return {
        name: [
            axis_name(value.type, axis)
            for axis, extent in enumerate(value.type.shape)
            if extent is None
        ]
        for name, value in named_leaves(graph.inputs, "input")
    }


def axis_name(type: TensorType, axis: int) -> str:
    """What an axis is called, counted from 1 where it has no name.

    Indices may be time × batch as well as batch × time.
    """
    names = AXES.get(type.rank, ("batch",)) if type.dtype == FLOAT or type.rank == 1 else ()
    return names[axis] if axis < len(names) else f"dimension {axis + 1}"


def free_text(free: Mapping[str, Sequence[str]]) -> str:
    """The free axes of all inputs in one phrase."""
    if not any(free.values()):
        return "no axis is free"
    if len({tuple(axes) for axes in free.values()}) == 1:
        return f"free: {', '.join(next(iter(free.values())))}"
    return "free: " + "; ".join(
        f"{name} {', '.join(axes) or 'none'}" for name, axes in free.items()
    )


def chosen_axes(model: Model, types: Nested[TensorType], graph: Graph) -> list[int]:
    """The axes of a single input that are fixed in the graph though any extent may do.

    The first counts where it is fixed, a later one where the model runs with one more there too;
    planes of images are what a net is made for.
    """
    if not isinstance(types, TensorType):
        return [0] if any(not starts_free(value.type) for value in leaves(graph.inputs)) else []
    (value,) = leaves(graph.inputs)
    fixed = [axis for axis, extent in enumerate(value.type.shape) if extent is not None]
    return [
        axis
        for axis in fixed
        if axis == 0 or ((axis > 1 or types.rank < 4) and accepts(model, lengthened(types, axis)))
    ]


def lengthened(type: TensorType, axis: int) -> TensorType:
    """The type with one more along an axis."""
    extents = list(type.static)
    extents[axis] += 1
    return replace(type, shape=tuple(extents))


def size_text(chosen: Sequence[int]) -> str:
    """How an input size came about that neither the user, the file nor a fixed layer says."""
    return "chosen" if chosen else "any"


def frozen_warning(graph: Graph, chosen: Sequence[int]) -> str:
    """What to know of a port of which sizes were chosen, and are fixed; else nothing."""
    if not chosen:
        return ""
    if 0 in chosen:
        which = "the first size"
        shown = [value.type for value in leaves(graph.inputs) if not starts_free(value.type)]
    else:
        which = f"size {chosen[0] + 1}"
        shown = [value.type for value in leaves(graph.inputs)]
    return (
        f"{which} of the input is not free: the port takes {', '.join(map(str, shown))}, which was "
        "chosen; give yours with `input_shapes=`"
    )


def stacked_warning(graph: Graph) -> str:
    """What to know of a port that gives a table of any length as one tensor; else nothing."""
    if not graph.stacked:
        return ""
    return (
        "Torch's output holds a table with an entry for every step; the port gives the entries "
        "stacked in one tensor, whose first axis counts the steps"
    )


def starts_free(type: TensorType) -> bool:
    """Whether the first size, a batch or steps of time, may be anything."""
    return type.rank == 0 or type.shape[0] is None
