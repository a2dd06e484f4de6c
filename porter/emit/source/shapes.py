"""Sizes in terms of the input's free sizes: what N×H×W×3 becomes, layer by layer.

Nothing declares how a layer changes a size. The model is walked again with a larger input, and each
size that grew in proportion is written as a formula: (H+8)/4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from porter.errors import WalkError
from porter.frontend.walker import Model
from porter.ir.graph import Graph, TensorType
from porter.ir.nested import Nested, leaves, map_leaves

ROUND = 64
"""A multiple of nearly all nets' strides."""
STEPS = (64, 48, 32, 16, 8, 4, 2, 1)
"""By how much a size is changed where it cannot be such a multiple."""
AXES = {1: "N", 2: "NF", 3: "NTF", 4: "NCHW", 5: "NCTHW"}
"""Letters of an input's axes, by its rank."""

Place = tuple[int, int]
Sizes = dict[int, list[str]]


def free_sizes(graph: Graph, types: list[TensorType]) -> dict[str, list[Place]]:
    """The input's free sizes by letter; equal sizes at equal axes share one."""
    letters: dict[str, list[Place]] = {}
    letter_of: dict[tuple[int, int | None], str] = {}
    for leaf, value in enumerate(leaves(graph.inputs)):
        for axis, size in enumerate(value.type.shape):
            if size is None:
                # A batch is in front, heights and widths are at the end.
                key = (axis - value.type.rank if axis else 0, types[leaf].shape[axis])
                stem = AXES.get(value.type.rank, "N" * value.type.rank)[axis]
                letter = letter_of.setdefault(key, free_letter(stem, letters))
                letters.setdefault(letter, []).append((leaf, axis))
    return letters


def free_letter(stem: str, used: dict[str, list[Place]]) -> str:
    """A letter that stands for no other size."""
    letter, number = stem, 1
    while letter in used:
        number += 1
        letter = f"{stem}{number}"
    return letter


def formulas(model: Model, types: Nested[TensorType], graph: Graph) -> Sizes:
    """Every value's sizes as text, in Torch's order, by value id; `?` where they are no formula."""
    texts: Sizes = {
        value.id: ["?" if size is None else str(size) for size in value.type.shape]
        for value in graph.values()
    }
    changed: set[Place] = set()
    for letter, places in free_sizes(graph, list(leaves(types))).items():
        for sizes in grown(model, types, places):
            for identity, written in texts.items():
                for axis, (before, once, twice) in enumerate(sizes.each(identity)):
                    if once == before or None in (before, once, twice):
                        continue
                    slope = Fraction(once - before, sizes.step)
                    straight = twice - once == once - before and (identity, axis) not in changed
                    written[axis] = formula(letter, sizes.start, before, slope) if straight else "?"
                    changed.add((identity, axis))
    return texts


@dataclass(frozen=True)
class Grown:
    """Sizes of all values where one size of the input is `start`, and one and two steps more."""

    start: int
    step: int
    graphs: tuple[Graph, ...]

    @cached_property
    def shapes(self) -> list[dict[int, tuple[int | None, ...]]]:
        return [{v.id: v.type.shape for v in graph.values()} for graph in self.graphs]

    def each(self, identity: int) -> Iterator[tuple[Any, ...]]:
        """The three sizes of every axis of a value."""
        return zip(*(shapes.get(identity, ()) for shapes in self.shapes), strict=False)


def grown(model: Model, types: Nested[TensorType], places: list[Place]) -> Iterator[Grown]:
    """The first step with which the model can be walked; none if there is none."""
    leaf, axis = places[0]
    original = list(leaves(types))[leaf].static[axis]
    # From a multiple of all strides on, no size is rounded.
    for start, step in [
        (-(-original // ROUND) * ROUND, ROUND),
        *((original, step) for step in STEPS),
    ]:
        sizes = [start + times * step for times in range(3)]
        try:
            graphs = tuple(model.walk(larger(types, places, size - original)) for size in sizes)
        except WalkError:
            continue
        yield Grown(start, step, graphs)
        return


def larger(types: Nested[TensorType], places: list[Place], more: int) -> Nested[TensorType]:
    """The input types with some sizes grown."""
    numbers = iter(range(len(list(leaves(types)))))

    def grow(type: TensorType) -> TensorType:
        leaf = next(numbers)
        shape = tuple(
            size + more if (leaf, axis) in places else size for axis, size in enumerate(type.static)
        )
        return replace(type, shape=shape)

    return map_leaves(grow, types)


def formula(letter: str, start: int, before: int, slope: Fraction) -> str:
    """The line through (start, before): `(2H-3)`, `(H/4+2)`, or `(H+3)/4` if it must be."""
    offset = before - slope * start
    factor = letter if slope.numerator == 1 else f"{slope.numerator}{letter}"
    part = "" if slope.denominator == 1 else f"/{slope.denominator}"
    if offset == 0:
        return factor + part
    if offset.denominator == 1:
        return f"({factor}{part}{int(offset):+d})"
    return f"({factor}{int(offset * slope.denominator):+d}){part}"
