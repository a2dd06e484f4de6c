"""Which inputs of a graph hold indices, and how large an index each may hold.

Torch's recordings and tensors do not tell: indices travel as floats. What reads them does.
"""

from __future__ import annotations

from dataclasses import dataclass

from porter.frontend.loop import Loop
from porter.ir.capabilities import Skippable, TakesIndices
from porter.ir.graph import Graph, Node
from porter.ir.nested import leaves


@dataclass(frozen=True)
class IndexRange:
    """The smallest and the largest index that a reader takes; None where it takes smaller ones."""

    least: int | None
    largest: int
    reader: Node


def index_limits(graph: Graph) -> dict[int, int]:
    """The largest index that every reader of an input takes, by the id of the input's value."""
    return {identity: found.largest for identity, found in index_ranges(graph).items()}


def index_ranges(graph: Graph) -> dict[int, IndexRange]:
    """What the strictest reader of an input takes, by the id of the input's value.

    Inputs that nobody reads as indices are left out. Indices may pass through layers that only
    move numbers: views, splits, joins, transposes.
    """
    ranges: dict[int, IndexRange] = {}
    for node in reversed(graph.nodes):
        for position, found in read_as_indices(node, ranges).items():
            identity = node.inputs[position].id
            ranges[identity] = min(found, ranges.get(identity, found), key=lambda r: r.largest)
    inputs = {value.id for value in leaves(graph.inputs)}
    return {identity: found for identity, found in ranges.items() if identity in inputs}


def number_readers(graph: Graph) -> dict[int, Node]:
    """The last node that computes with an input as with any numbers, by the id of its value.

    Torch reads such an input from a tensor of floats, also where others take indices from it.
    """
    readers: dict[int, Node] = {}
    for node in reversed(graph.nodes):
        for position, reader in read_as_numbers(node, readers).items():
            readers.setdefault(node.inputs[position].id, reader)
    inputs = {value.id for value in leaves(graph.inputs)}
    return {identity: node for identity, node in readers.items() if identity in inputs}


def read_as_numbers(node: Node, readers: dict[int, Node]) -> dict[int, Node]:
    """The inputs of a node, by position, that it or a node behind it computes with."""
    if isinstance(node.op, Loop):
        _, *inner = leaves(node.op.body.inputs)
        inside = number_readers(node.op.body)
        return {i: inside[value.id] for i, value in enumerate(inner) if value.id in inside}
    read = [i for i in range(len(node.inputs)) if i not in node.op.shape_only]
    if hands_on(node):
        behind = next((readers[v.id] for v in node.outputs if v.id in readers), None)
        return {} if behind is None else dict.fromkeys(read, behind)
    indices = read_as_indices(node, {})
    return {i: node for i in read if i not in indices}


def hands_on(node: Node) -> bool:
    """Whether a node only moves numbers."""
    op = node.op
    return op.is_view or op.moves or (isinstance(op, Skippable) and op.is_identity())


def read_as_indices(node: Node, ranges: dict[int, IndexRange]) -> dict[int, IndexRange]:
    """The range of each input, by position, that a node reads or hands on as indices."""
    op = node.op
    if isinstance(op, Loop):
        # The body's first input is the number of the step.
        _, *inner = leaves(op.body.inputs)
        inside = index_ranges(op.body)
        return {i: inside[value.id] for i, value in enumerate(inner) if value.id in inside}
    if hands_on(node):
        behind = [ranges[value.id] for value in node.outputs if value.id in ranges]
        read = (i for i in range(len(node.inputs)) if i not in op.shape_only)
        return dict.fromkeys(read, min(behind, key=lambda r: r.largest)) if behind else {}
    types = tuple(value.type for value in node.inputs)
    if not isinstance(op, TakesIndices):
        return {}
    found = ((i, op.index_limit(i, types)) for i in range(len(node.inputs)))
    return {i: IndexRange(op.least_index(), most, node) for i, most in found if most is not None}
