"""Which inputs of a graph hold indices, and how large an index each may hold.

Torch's recordings and tensors do not tell: indices travel as floats. What reads them does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import reduce

from porter.frontend.loop import Loop
from porter.ir.capabilities import ShiftsIndices, Skippable, TakesIndices
from porter.ir.graph import Graph, Node, Value
from porter.ir.nested import leaves

LARGE = 10_007
"""Stands for a free size: larger than what a layer may pick of it."""


@dataclass(frozen=True)
class IndexRange:
    """The smallest and the largest index that a reader takes; None where it takes smaller ones."""

    least: int | None
    largest: int
    reader: Node

    def and_also(self, other: IndexRange) -> IndexRange:
        """The range of what both take; its reader is that of the smaller largest index."""
        least = [each.least for each in (self, other) if each.least is not None]
        strict = min(self, other, key=lambda each: each.largest)
        return IndexRange(max(least, default=None), strict.largest, strict.reader)

    def before_adding(self, shift: int) -> IndexRange:
        """The range of what becomes such an index when `shift` is added to it."""
        least = None if self.least is None else self.least - shift
        return replace(self, least=least, largest=self.largest - shift)

    def is_that_of(self, other: IndexRange) -> bool:
        """Whether both take the same indices."""
        return (self.least, self.largest) == (other.least, other.largest)


Ranges = dict[int, IndexRange]


def index_inputs(graph: Graph) -> Ranges:
    """The indices that every reader of an input takes, by the id of the input's value.

    Inputs that nobody reads as indices are left out. Indices may pass through layers that only
    move numbers (views, splits, joins, transposes) or add an integer to them.
    """
    return through_nodes(graph, read_as_indices)


def index_ranges(graph: Graph) -> Ranges:
    """What all numbers of an input have to be, by the id of the input's value.

    Inputs of which some numbers go elsewhere are left out: fields that are split among several
    tables, columns that nobody reads.
    """
    return through_nodes(graph, read_whole)


def through_nodes(graph: Graph, read: Callable[[Node, Ranges], Ranges]) -> Ranges:
    """What is read of the graph's inputs, by id, from what `read` tells of each node's inputs, by
    position, and of those of the nodes behind it, by id."""
    ranges: Ranges = {}
    for node in reversed(graph.nodes):
        for position, found in read(node, ranges).items():
            identity = node.inputs[position].id
            ranges[identity] = found.and_also(ranges.get(identity, found))
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
    indices = read_here(node)
    return {i: node for i in read if i not in indices}


def hands_on(node: Node) -> bool:
    """Whether a node only moves numbers."""
    op = node.op
    return op.is_view or op.moves or (isinstance(op, Skippable) and op.is_identity())


def read_as_indices(node: Node, ranges: Ranges) -> Ranges:
    """The range of each input, by position, that a node reads or hands on as indices."""
    if isinstance(node.op, Loop):
        return of_the_body(node.op, index_inputs(node.op.body))
    if not hands_on(node):
        return shifted(node, ranges) or read_here(node)
    behind = [ranges[value.id] for value in node.outputs if value.id in ranges]
    return dict.fromkeys(moved(node), reduce(IndexRange.and_also, behind)) if behind else {}


def read_whole(node: Node, ranges: Ranges) -> Ranges:
    """The range of each input, by position, whose every number a node or those behind it read."""
    if isinstance(node.op, Loop):
        return of_the_body(node.op, index_ranges(node.op.body))
    if not hands_on(node):
        return shifted(node, ranges) or read_here(node)
    behind = [ranges.get(value.id) for value in node.outputs]
    first, positions = behind[0], moved(node)
    if first is None or not all(each is not None and first.is_that_of(each) for each in behind):
        return {}
    if numbers(node.outputs) < numbers([node.inputs[i] for i in positions]):
        return {}
    return dict.fromkeys(positions, first)


def shifted(node: Node, ranges: Ranges) -> Ranges:
    """The range of the input of a node that adds an integer to what is read as indices behind."""
    behind = ranges.get(node.outputs[0].id)
    shift = node.op.shift() if isinstance(node.op, ShiftsIndices) else None
    return {} if behind is None or shift is None else {0: behind.before_adding(shift)}


def of_the_body(loop: Loop, inside: Ranges) -> Ranges:
    """What is known of the inputs of a loop's body, by position of the loop's own inputs."""
    # The body's first input is the number of the step.
    _, *inner = leaves(loop.body.inputs)
    return {i: inside[value.id] for i, value in enumerate(inner) if value.id in inside}


def moved(node: Node) -> list[int]:
    """Positions of the inputs whose numbers a node moves."""
    return [i for i in range(len(node.inputs)) if i not in node.op.shape_only]


def numbers(values: Iterable[Value]) -> int:
    """How many numbers values hold together, where free sizes are large."""
    shapes = [value.type.shape for value in values]
    return sum(math.prod(LARGE if n is None else n for n in shape) for shape in shapes)


def read_here(node: Node) -> Ranges:
    """The range of each input, by position, that the node itself reads as indices."""
    op = node.op
    if not isinstance(op, TakesIndices):
        return {}
    types = tuple(value.type for value in node.inputs)
    found = ((i, op.index_limit(i, types)) for i in range(len(node.inputs)))
    return {i: IndexRange(op.least_index(), most, node) for i, most in found if most is not None}
