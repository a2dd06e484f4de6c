"""Which axis counts the steps of time, and which the samples: Torch has both orders."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from porter.frontend.index_inputs import index_inputs
from porter.frontend.inputs import walked
from porter.frontend.loop import Loop
from porter.frontend.stepping import HasStates
from porter.frontend.walker import Model
from porter.ir.graph import INT, Graph, TensorType
from porter.ir.nested import Nested, leaves, map_leaves


def time_axes(model: Model, types: Nested[TensorType]) -> dict[int, int]:
    """The axis of time, by the position of the input; unknown ones are left out.

    Matrices of indices have one, and inputs of three dimensions, the last of which is features.

    Steps are looped over, have modules called once for each, are summed up or cut short by a
    convolution: no axis of a result is as long. Samples have one result each.
    """
    graph = model.walk(types)
    indices = index_inputs(graph)
    found: dict[int, int] = {}
    for position, value in enumerate(leaves(graph.inputs)):
        of_indices = value.type.rank == 2 and value.type.dtype == INT and value.id in indices
        if of_indices or value.type.rank == 3:
            axes = [axis for axis in (0, 1) if counts_steps(model, types, graph, position, axis)]
            if len(axes) == 1:
                found[position] = axes[0]
    return found


def counts_steps(
    model: Model, types: Nested[TensorType], graph: Graph, position: int, axis: int
) -> bool:
    """Whether a longer axis is more steps, and not more samples."""
    numbered = count()

    def longer(type: TensorType) -> TensorType:
        if next(numbered) != position:
            return type
        shape = list(type.static)
        shape[axis] += 1
        return replace(type, shape=tuple(shape))

    other = walked(model, map_leaves(longer, types))
    if other is None:
        return False
    if len(other.nodes) != len(graph.nodes) or steps(other) != steps(graph):
        return True
    (extent,) = (
        value.type.static[axis] for at, value in enumerate(leaves(graph.inputs)) if at == position
    )
    changes = zip(output_extents(graph), output_extents(other), strict=False)
    return (extent, extent + 1) not in changes


def steps(graph: Graph) -> list[int | None]:
    """How often each loop of a graph runs, how many steps each layer over time takes."""
    found: list[int | None] = []
    for node in graph.nodes:
        if isinstance(node.op, Loop):
            found.append(node.inputs[0].type.shape[0])
        elif isinstance(node.op, HasStates) and node.inputs[0].type.rank == 3:
            found.append(node.inputs[0].type.shape[node.op.time_axis()])
    return found


def output_extents(graph: Graph) -> list[int | None]:
    """The sizes of all outputs, one after the other."""
    return [extent for value in leaves(graph.outputs) for extent in value.type.shape]
