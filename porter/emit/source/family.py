"""Layers that make the same calls, and what differs among them: numbers, and weights.

Numbers that differ become parameters, named as the layer map's field that holds them, or as
TensorFlow's argument.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from porter.emit.source.arguments import number_arguments
from porter.emit.source.leaves import WeightArray
from porter.emit.source.recorder import RecordedLayer
from porter.emit.tracing.expression import (
    Expression,
    Literal,
    Ref,
    literal,
    nodes,
    references,
    rewrite,
)

Numbers = tuple[str, ...]
"""The numbers of one layer, as text, in the order in which they are written."""
RESERVED = frozenset({"w", "path", "tf", "np", "model", "load", "network"})


@dataclass(frozen=True)
class Shape:
    """What is alike: the calls in order, without numbers and without the weights' paths."""

    inputs: int
    outputs: tuple[int, ...]
    definitions: tuple[tuple[int, Expression], ...]


@dataclass
class Family:
    """All layers of one shape, with the numbers of each."""

    layers: list[RecordedLayer] = field(default_factory=list)
    numbers: list[Numbers] = field(default_factory=list)


def live(layer: RecordedLayer) -> list[int]:
    """The calls that the outputs depend on, in order."""
    pending, reached = list(layer.outputs), set[int]()
    while pending:
        identity = pending.pop()
        if identity not in reached and identity in layer.definitions:
            reached.add(identity)
            pending += references(layer.definitions[identity])
    return sorted(reached)


def shape_of(layer: RecordedLayer) -> tuple[Shape, Numbers]:
    """A layer's shape, and its numbers."""
    order = {identity: i for i, identity in enumerate([*layer.inputs, *live(layer)])}
    keys = weight_keys(layer)
    numbers: list[str] = []

    def change(leaf: Expression) -> Expression:
        if isinstance(leaf, Ref):
            return Ref(order[leaf.id])
        if isinstance(leaf, WeightArray):
            return WeightArray(None, keys[leaf])
        if isinstance(leaf, Literal) and leaf.is_number:
            numbers.append(leaf.text)
            return Literal("0", is_number=True)
        return leaf

    definitions = tuple(
        (layer.parts.get(identity, 0), rewrite(layer.definitions[identity], change))
        for identity in live(layer)
    )
    shape = Shape(len(layer.inputs), tuple(order[i] for i in layer.outputs), definitions)
    return shape, tuple(numbers)


def weight_keys(layer: RecordedLayer) -> dict[WeightArray, str]:
    """How the function of a layer calls its weights; `weight_2` is `weight` stored again."""
    fields = set[str]()
    if layer.step is not None:
        fields = {each.name for each in layer.step.node.op.params().values()}
    keys: dict[WeightArray, str] = {}
    for identity in live(layer):
        for leaf in nodes(layer.definitions[identity]):
            if isinstance(leaf, WeightArray) and leaf not in keys:
                stem = re.sub(r"_\d+$", "", leaf.name)
                is_variant = stem in fields and leaf.name not in fields
                keys[leaf] = numbered(stem if is_variant else leaf.name, keys.values())
    return keys


def numbered(stem: str, used: Collection[str]) -> str:
    """`stem`, with a number appended if another name is equal."""
    names = itertools.chain([stem], (f"{stem}_{number}" for number in itertools.count(2)))
    return next(name for name in names if name not in used)


# Parameters ---------------------------------------------------------------------------------------


def varying(columns: list[Numbers]) -> Iterator[tuple[int, Numbers]]:
    """The places whose numbers differ among layers, with the number of each layer."""
    for place, column in enumerate(zip(*columns, strict=True)):
        if len(set(column)) > 1:
            yield place, column


def parameter_names(family: Family) -> dict[int, str]:
    """Which parameter stands at which place, perhaps with a minus; equal columns share one."""
    first = family.layers[0]
    arguments = list(number_arguments([first.definitions[i] for i in live(first)]))
    used = RESERVED | set(first.names.values())
    named: dict[Numbers, str] = {}
    places: dict[int, str] = {}
    for place, column in varying(family.numbers):
        opposite = tuple(map(negated, column))
        sign, key = "", column
        if field_name(family, column) is None and field_name(family, opposite) is not None:
            sign, key = "-", opposite
        if key not in named:
            stem = field_name(family, key) or arguments[place]
            named[key] = numbered(stem, used | set(named.values()))
        places[place] = sign + named[key]
    return places


def negated(number: str) -> str:
    """The text of the opposite number."""
    if number.startswith("-") or number == "0":
        return number.removeprefix("-")
    return f"-{number}"


def field_name(family: Family, column: Numbers) -> str | None:
    """The field of the layer maps that holds these numbers, or one entry of it."""
    ops = [layer.step.node.op for layer in family.layers if layer.step is not None]
    for name in ops[0].fields() if ops else ():
        values = [getattr(op, name, None) for op in ops]
        if tuple(map(number_text, values)) == column:
            return name
        tuples = [each for each in values if isinstance(each, tuple)]
        if len(tuples) == len(values):
            for place, entries in enumerate(zip(*tuples, strict=False), start=1):
                if tuple(map(number_text, entries)) == column:
                    even = all(len(set(each)) == 1 for each in tuples)
                    return name if even else f"{name}_{place}"
    return None


def number_text(value: object) -> str | None:
    """How a number is written; None for anything else."""
    try:
        written = literal(value)
    except TypeError:
        return None
    return written.text if written.is_number else None
