"""Which axes of a port's inputs are free, in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from porter.frontend.inputs import accepts, shown_shape, walked
from porter.frontend.walker import Model
from porter.imaging.geometry import Geometry
from porter.ir.graph import FLOAT, Graph, TensorType
from porter.ir.layer_map import Accepts
from porter.ir.nested import Nested, leaves, map_leaves, named_leaves

AXES = {
    1: ("length",),
    2: ("batch", "features"),
    4: ("batch", "planes", "height", "width"),
    5: ("batch", "planes", "depth", "height", "width"),
}
"""What the axes of Torch's tensors usually are, by rank."""


NO_TIMES: Mapping[int, int] = {}


def free_axes(graph: Graph, times: Mapping[int, int] = NO_TIMES) -> dict[str, list[str]]:
    """For every input of a graph the axes that may have any extent, by name in Torch's order.

    `times` has the axis of time of inputs that may have one, by their position (`time_axes`).
    """
    inputs = dict(named_leaves(graph.inputs, "input"))
    batched = any(value.type.rank > 1 and starts_free(value.type) for value in inputs.values())
    return {
        name: [
            axis_name(value.type, axis, batched, times.get(position))
            for axis, extent in enumerate(value.type.shape)
            if extent is None
        ]
        for position, (name, value) in enumerate(inputs.items())
    }


def axis_name(type: TensorType, axis: int, batched: bool, time: int | None) -> str:
    """What an axis is called, counted from 1 where it has no name; `time` is that of steps.

    Sequences may be time × batch as well as batch × time; a vector beside other inputs that have a
    batch has a number for each of its samples.
    """
    if type.rank == 1 and batched:
        return "batch"
    image = type.rank == 3 and (type.shape[0] is not None or type.shape[2] is None)
    if time is not None and axis < 2 and not image:
        return "time" if axis == time else "batch"
    names = AXES.get(type.rank, ("batch",)) if type.dtype == FLOAT or type.rank == 1 else ()
    if type.rank >= 4 and type.shape[1] is None and type.shape[-1] is not None:
        names = (names[0], *names[2:], names[1])  # nn.Transpose makes Torch's order of it
    if type.rank == 2 and type.shape[0] is not None:
        names = ()
    return names[axis] if axis < len(names) else f"dimension {axis + 1}"


def free_text(free: Mapping[str, Sequence[str]], geometry: Geometry | None = None) -> str:
    """The free axes of all inputs in one phrase, with the sizes that a net of pictures takes."""
    if not any(free.values()):
        return "no axis is free"
    if len({tuple(axes) for axes in free.values()}) == 1:
        axes = next(iter(free.values()))
        multiple = geometry.multiple if geometry and "height" in axes else 1
        limits = f"; height and width in multiples of {multiple}" if multiple > 1 else ""
        return f"free: {', '.join(axes)}{limits}"
    return "free: " + "; ".join(
        f"{name} {', '.join(axes) or 'none'}" for name, axes in free.items()
    )


def chosen_axes(model: Model, types: Nested[TensorType], graph: Graph) -> list[int]:
    """The axes that are fixed in the graph though the model runs with other extents there.

    Of several inputs the first axis alone; planes of images are what a net is made for.
    """
    if not isinstance(types, TensorType):
        fixed = [0] if fixed_first(graph) else []
        return [axis for axis in fixed if runs_with_others(model, types, axis)]
    (value,) = leaves(graph.inputs)
    fixed = [axis for axis, extent in enumerate(value.type.shape) if extent is not None]
    return [
        axis
        for axis in fixed
        if (axis != 1 or types.rank < 4) and runs_with_others(model, types, axis)
    ]


def runs_with_others(model: Model, types: Nested[TensorType], axis: int) -> bool:
    """Whether the model runs with one more along an axis of its inputs.

    Or along the first with twice as many: two samples of later axes may be taken for one of them.
    """

    def runs(change: Callable[[int], int]) -> bool:
        return accepts(model, map_leaves(lambda each: with_extent(each, axis, change), types))

    return runs(lambda extent: extent + 1) or (axis == 0 and runs(lambda extent: 2 * extent))


def with_extent(type: TensorType, axis: int, change: Callable[[int], int]) -> TensorType:
    """The type with another extent along an axis, where it has that."""
    extents = list(type.static)
    if axis < len(extents):
        extents[axis] = change(extents[axis])
    return replace(type, shape=tuple(extents))


def size_text(chosen: Sequence[int], geometry: Geometry | None = None) -> str:
    """How an input size came about that neither the user, the file nor a fixed layer says."""
    if chosen:
        return "chosen"
    return "any" if geometry is None or geometry.multiple == 1 else "an example"


def frozen_warning(graph: Graph, chosen: Sequence[int]) -> str:
    """What to know of sizes that are fixed in a port where callers expect free ones; or nothing."""
    first = fixed_first(graph)
    if not (chosen or first):
        return ""
    of_first = 0 in chosen or not chosen
    which = "the first size" if of_first else f"size {chosen[0] + 1}"
    shown = first if of_first else [value.type for value in leaves(graph.inputs)]
    why = (
        "which was chosen; give yours with `input_shapes=`"
        if chosen
        else "and the model's layers take no other"
    )
    return f"{which} of the input is not free: the port takes {', '.join(map(str, shown))}, {why}"


def fixed_first(graph: Graph) -> list[TensorType]:
    """The inputs whose first size is fixed."""
    return [value.type for value in leaves(graph.inputs) if not starts_free(value.type)]


def regrouped_warning(model: Model, types: Nested[TensorType], graph: Graph) -> str:
    """What to know of a port whose input is reshaped first, so that Torch takes others; or nothing.

    `types` are those that were found, and not those that the user gives.
    """
    if not isinstance(types, TensorType) or types.rank != 2:
        return ""
    (value,) = leaves(graph.inputs)
    readers = [node for node in graph.nodes if value in node.inputs]
    while len(readers) == 1 and readers[0].op.accepts is Accepts.ELEMENTWISE:
        (value,) = readers[0].outputs
        readers = [node for node in graph.nodes if value in node.inputs]
    count = types.static[1]
    edges = [(planes, math.isqrt(count // planes)) for planes in (1, 3)]
    shapes: list[tuple[int, ...]] = [
        (1, planes, edge, edge) for planes, edge in edges if planes * edge**2 == count
    ]
    shapes += [(1, size, count // size) for size in range(math.isqrt(count), 1, -1)]
    others = (replace(types, shape=shape) for shape in shapes if math.prod(shape) == count)
    other = next((each for each in others if accepts(model, each)), None)
    if other is None or not readers or not all(node.op.regroups for node in readers):
        return ""
    reader = f"{readers[0].path} ({readers[0].typename})"
    return (
        f"{reader} takes samples of any shape of {count} numbers, the port takes rows of them: "
        f"for others give their shape, such as `input_shapes={shown_shape(other)}`"
    )


def stacked_warning(graph: Graph) -> str:
    """What to know of a port that gives a table of any length as one tensor; else nothing."""
    if not graph.stacked:
        return ""
    return (
        "Torch's output holds a table with an entry for every step; the port gives the entries "
        "stacked in one tensor, whose first axis counts the steps"
    )


def table_warning(model: Model, types: Nested[TensorType]) -> str:
    """What to know of a port whose inputs are a table that Torch takes of any length; or nothing.

    nn.Sequencer is called on a tensor for each step, or on all in one.
    """
    entries = types if isinstance(types, list) else []
    first = entries[0] if entries else None
    if not isinstance(first, TensorType) or any(each != first for each in entries):
        return ""
    graph = walked(model, [*entries, first])
    *_, last = leaves(graph.inputs) if graph else (None,)
    # nn.ParallelTable takes more entries than it has modules, and passes over them.
    if graph is None or not any(last in node.inputs for node in graph.nodes):
        return ""
    count = len(entries)
    whole = replace(first, shape=(count, *first.static))
    advice = (
        f"give all in one tensor, `input_shapes={shown_shape(whole)}`, for any number"
        if accepts(model, whole)
        else "convert again with `input_shapes=` for each where there are more or fewer"
    )
    return f"Torch takes a table of any number of tensors here, the port {count}: {advice}"


def starts_free(type: TensorType) -> bool:
    """Whether the first size, a batch or steps of time, may be anything."""
    return type.rank == 0 or type.shape[0] is None
