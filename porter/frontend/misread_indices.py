"""Whether inputs that porter made up become indices that there are.

Indices may be computed from an input: offsets are added for each field, halves are doubled. Which
numbers fit is then known to the one who has the data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from porter.frontend.index_inputs import hands_on, read_here
from porter.ir.capabilities import ShiftsIndices
from porter.ir.fields import Array
from porter.ir.graph import Graph, Node, Value
from porter.ir.nested import Nested, leaves
from porter.runtime import reference


@dataclass(frozen=True)
class Misread:
    """A node that takes indices from `least` to `largest`, and the number that it gets."""

    reader: Node
    least: int
    largest: int
    received: float


def misread(graph: Graph, arrays: Nested[Array]) -> Misread | None:
    """The first index outside of its reader's range that a graph computes from `arrays`."""
    readers = [node for node in graph.nodes if read_here(node)]
    sources = computed_sources(graph, readers)
    if not sources:
        return None
    fed = {
        value.id: array for value, array in zip(leaves(graph.inputs), leaves(arrays), strict=True)
    }
    values = reference.run(ancestors(graph, sources), fed)
    for node in readers:
        for position, allowed in read_here(node).items():
            indices = values.get(node.inputs[position].id)
            if indices is None or not indices.size:
                continue
            whole = np.trunc(indices)
            least = -allowed.largest if allowed.least is None else allowed.least
            outside = ~((whole >= least) & (whole <= allowed.largest))
            if outside.any():
                return Misread(node, least, allowed.largest, float(indices[outside][0]))
    return None


def computed_sources(graph: Graph, readers: list[Node]) -> set[int]:
    """The ids of values that are read as indices, but for inputs that are only moved or shifted."""
    drawn = {value.id for value in leaves(graph.inputs)}
    for node in graph.nodes:
        plain = hands_on(node) or (
            isinstance(node.op, ShiftsIndices) and node.op.shift() is not None
        )
        if plain and all(value.id in drawn for value in node.inputs):
            drawn |= {value.id for value in node.outputs}
    read = {node.inputs[position].id for node in readers for position in read_here(node)}
    return read - drawn


def ancestors(graph: Graph, sources: set[int]) -> Graph:
    """The part of a graph that computes the values `sources`."""
    needed, nodes = set(sources), []
    for node in reversed(graph.nodes):
        if needed & {value.id for value in node.outputs}:
            nodes.append(node)
            needed |= {value.id for value in node.inputs}
    outputs: list[Nested[Value]] = [value for value in graph.values() if value.id in sources]
    return replace(graph, nodes=tuple(reversed(nodes)), outputs=outputs, calls=())
