"""Which inputs of a graph hold indices, and how large an index each may hold.

Torch's recordings and tensors do not tell: indices travel as floats. What reads them does.
"""

from __future__ import annotations

from porter.frontend.loop import Loop
from porter.ir.capabilities import Skippable, TakesIndices
from porter.ir.graph import Graph, Node
from porter.ir.nested import leaves


def index_limits(graph: Graph) -> dict[int, int]:
    """The largest index that every reader of an input takes, by the id of the input's value.

    Inputs that nobody reads as indices are left out. Indices may pass through layers that only
    move numbers: views, splits, joins, transposes.
    """
    limits: dict[int, int] = {}
    for node in reversed(graph.nodes):
        for position, limit in read_as_indices(node, limits).items():
            identity = node.inputs[position].id
            limits[identity] = min(limit, limits.get(identity, limit))
    inputs = {value.id for value in leaves(graph.inputs)}
    return {identity: limit for identity, limit in limits.items() if identity in inputs}


def read_as_indices(node: Node, limits: dict[int, int]) -> dict[int, int]:
    """The largest index of each input, by position, that a node reads or hands on as indices."""
    op = node.op
    if isinstance(op, Loop):
        # The body's first input is the number of the step.
        _, *inner = leaves(op.body.inputs)
        inside = index_limits(op.body)
        return {i: inside[value.id] for i, value in enumerate(inner) if value.id in inside}
    skips = isinstance(op, Skippable) and op.is_identity()
    if op.is_view or op.moves or skips:
        behind = [limits[value.id] for value in node.outputs if value.id in limits]
        return dict.fromkeys(range(len(node.inputs)), min(behind)) if behind else {}
    types = tuple(value.type for value in node.inputs)
    if not isinstance(op, TakesIndices):
        return {}
    found = ((i, op.index_limit(i, types)) for i in range(len(node.inputs)))
    return {i: limit for i, limit in found if limit is not None}
