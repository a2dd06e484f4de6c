"""Liveness analysis, for graphs, plans and generated source alike.

A step uses keys, by reading or by defining them: a node the ids of its values, a step of a plan its
stored tensors, a line of source its names. The analysis knows only keys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import TypeVar

from porter.ir.graph import Graph
from porter.ir.nested import leaves

K = TypeVar("K", bound=Hashable)


def last_uses(steps: Iterable[Iterable[K]]) -> dict[K, int]:
    """The position of the last step that uses each key, in order of first use."""
    last: dict[K, int] = {}
    for position, keys in enumerate(steps):
        last |= dict.fromkeys(keys, position)
    return last


def dead_after(steps: Iterable[Iterable[K]], results: Iterable[K]) -> dict[int, list[K]]:
    """Keys that are not needed after a step, by its position; `results` are always needed."""
    needed = set(results)
    dead: dict[int, list[K]] = {}
    for key, position in last_uses(steps).items():
        if key not in needed:
            dead.setdefault(position, []).append(key)
    return dead


def dead_values(graph: Graph) -> dict[int, list[int]]:
    """Ids of the values that are not needed after a node, by the node's position."""
    steps = ([value.id for value in (*node.inputs, *node.outputs)] for node in graph.nodes)
    return dead_after(steps, (value.id for value in leaves(graph.outputs)))


def reader_counts(graph: Graph) -> Counter[int]:
    """How often each value is read, by id: by nodes, and as an output of the graph."""
    counts = Counter(value.id for node in graph.nodes for value in node.inputs)
    counts.update(value.id for value in leaves(graph.outputs))
    return counts
