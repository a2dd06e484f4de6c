"""Find containers that compute the same, by comparing their lines.

Two containers are alike if their lines call the same functions on the same tensors, at the same
places below them. Their class does not matter, so that a residual block is one whether it is an
nn.Sequential, a class of its own, or a clone. Numbers and the weights' paths may differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from porter.emit.source.family import Numbers, varying
from porter.emit.source.layers import ModelLine
from porter.emit.source.leaves import WeightsPath
from porter.emit.tracing.expression import Expression, Literal, Ref, nodes, references, rewrite
from porter.ir.liveness import last_uses

MAX_PARAMETERS = 4
"""Containers that differ in more numbers are not called alike."""
MIN_SAVED = 3
"""How many lines a function must save, its signature counted."""

Slots = tuple[int, ...]


@dataclass
class Body:
    """The lines of a function: of the model, or of a container, whose paths are then relative."""

    name: str
    lines: list[ModelLine]
    inputs: list[int]
    outputs: list[int]
    parameters: tuple[str, ...] = ()
    is_relative: bool = False


@dataclass(frozen=True)
class Form:
    """What is alike in containers that share a function; tensors are counted from 0."""

    lines: tuple[tuple[str, Slots, Expression], ...]
    inputs: int
    outputs: Slots


@dataclass(frozen=True)
class Region:
    """Lines `start` to `stop` of a body: all that the container at `path` does.

    `weights` is the path under which its weights are: its own, or that of the module with which it
    shares them; None if it has none.
    """

    body: Body
    path: str
    start: int
    stop: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    weights: str | None = None
    numbers: Numbers = ()

    @property
    def lines(self) -> list[ModelLine]:
        return self.body.lines[self.start : self.stop]


def largest(bodies: list[Body]) -> tuple[Form, list[Region]] | None:
    """The most lines that occur more than once; of equal ones the outermost container."""
    alike: dict[Form, list[Region]] = {}
    for body in bodies:
        for region in regions_of(body):
            formed = form_of(region)
            if formed is not None:
                alike.setdefault(formed[0], []).append(formed[1])
    best: tuple[Form, list[Region]] | None = None
    for form, regions in alike.items():
        for chosen in worthwhile(regions):
            if best is None or len(form.lines) > len(best[0].lines):
                best = form, chosen
    return best


def worthwhile(regions: list[Region]) -> Iterator[list[Region]]:
    """Alike regions whose function is shorter than what it replaces."""
    columns = {column for _, column in varying([each.numbers for each in regions])}
    groups = [regions]
    if len(columns) > MAX_PARAMETERS:
        equal: dict[Numbers, list[Region]] = {}
        for region in regions:
            equal.setdefault(region.numbers, []).append(region)
        groups = list(equal.values())
    for group in groups:
        if (len(group[0].lines) - 1) * (len(group) - 1) >= MIN_SAVED:
            yield group


def regions_of(body: Body) -> Iterator[Region]:
    """Every container of a body whose lines stand together, outer ones first."""
    places: dict[tuple[str, int], list[int]] = {}
    for position, line in enumerate(body.lines):
        parts = line.path.split(".")
        for depth in range(1, len(parts) + 1):
            path = ".".join(parts[:depth])
            if path:
                places.setdefault((path, line.count), []).append(position)
    read_last = last_reads(body)
    for (path, _), positions in places.items():
        start, stop = positions[0], positions[-1] + 1
        if not 1 < stop - start == len(positions) < len(body.lines):
            continue
        lines = body.lines[start:stop]
        produced = [each for line in lines for each in line.targets if each is not None]
        outputs = tuple(each for each in produced if read_last.get(each, -1) >= stop)
        read = dict.fromkeys(each for line in lines for each in references(line.expression))
        inputs = tuple(each for each in read if each not in produced)
        if outputs:
            yield Region(body, path, start, stop, inputs, outputs)


def last_reads(body: Body) -> dict[int, int]:
    """The last line that reads each tensor; outputs are read after the last one."""
    return last_uses([*(references(line.expression) for line in body.lines), body.outputs])


def form_of(region: Region) -> tuple[Form, Region] | None:
    """A region's form, and the region with what may differ; None if its weights lie apart."""
    order = {identity: i for i, identity in enumerate(region.inputs)}
    numbers: list[str] = []
    prefixes: set[str] = set()

    def change(leaf: Expression) -> Expression:
        if isinstance(leaf, Ref):
            return Ref(order[leaf.id])
        if isinstance(leaf, Literal) and leaf.is_number:
            numbers.append(leaf.text)
            return Literal("0", is_number=True)
        return leaf

    lines: list[tuple[str, Slots, Expression]] = []
    for line in region.lines:
        inside = line.path.removeprefix(region.path)
        for path in paths_in(line.expression):
            if path.relative != region.body.is_relative or not path.text.endswith(inside):
                return None
            prefixes.add(path.text[: len(path.text) - len(inside)])
        expression = rewrite(with_paths(line.expression, WeightsPath(inside, True)), change)
        for each in line.targets:
            if each is not None:
                order[each] = len(order)
        slots = tuple(-1 if each is None else order[each] for each in line.targets)
        lines.append((inside, slots, expression))
    if len(prefixes) > 1:
        return None
    form = Form(tuple(lines), len(region.inputs), tuple(order[each] for each in region.outputs))
    weights = next(iter(prefixes), None)
    return form, replace(region, weights=weights, numbers=tuple(numbers))


def paths_in(expression: Expression) -> list[WeightsPath]:
    """The paths of all weights that an expression reads."""
    return [node for node in nodes(expression) if isinstance(node, WeightsPath)]


def with_paths(expression: Expression, path: WeightsPath) -> Expression:
    """The expression with all weights at `path`."""
    return rewrite(expression, lambda node: path if isinstance(node, WeightsPath) else node)
