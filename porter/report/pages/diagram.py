"""A walked model as a drawing: a box for each layer, tables and nngraph resolved, with shapes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from porter.errors import printable
from porter.ir.graph import Graph, Value
from porter.ir.nested import leaves
from porter.parity.compare import Row
from porter.report.pages.layered import Placed, Point, Sizes, place

MAX_BOXES = 1500
"""Larger graphs are not drawn: they are unreadable, and the page would not load."""
TITLE_LENGTH = 28


@dataclass(frozen=True)
class Look:
    """The fill of a box (`level`, a CSS class), its second line and its tooltip."""

    level: str = ""
    line: str = ""
    more: str = ""


@dataclass(frozen=True)
class Box:
    """A layer, or an input or output of the net; x and y are its top left corner."""

    title: str
    line: str
    tooltip: str
    level: str
    x: float
    y: float


@dataclass(frozen=True)
class Wire:
    """An edge: an SVG path, and the shape at its start (once per value)."""

    path: str
    label: str
    x: float
    y: float


@dataclass(frozen=True)
class Diagram:
    """The input of the SVG template."""

    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]
    width: float
    height: float
    sizes: Sizes = field(default_factory=Sizes)


def levels(rows: Mapping[tuple[str, int], Row]) -> dict[tuple[str, int], Look]:
    """Boxes coloured by the larger of both errors, in units of its tolerance."""
    return {key: Look(level(row), row.path, row.summary()) for key, row in rows.items()}


def level(row: Row) -> str:
    """`good`, `fair` (within a factor of ten of the tolerance), `bad`, or nothing measured."""
    if not row.passed:
        return "fair" if row.inherited else "bad"
    shares = [
        measure.max_rel / limit
        for measure, limit in (
            (row.isolated, row.tolerance.isolated),
            (row.accumulated, row.tolerance.accumulated),
        )
        if measure is not None
    ]
    if not shares:
        return ""
    return "fair" if max(shares) > 0.1 else "good"


def draw(graph: Graph, looks: Mapping[tuple[str, int], Look] | None = None) -> Diagram | None:
    """The drawing of a graph; None where it is too large."""
    if len(graph.nodes) > MAX_BOXES:
        return None
    looks = looks or {}
    inputs, outputs = list(leaves(graph.inputs)), list(leaves(graph.outputs))
    texts = [(name_of("input", inputs, i), "", str(v.type), "end") for i, v in enumerate(inputs)]
    maker = {value.id: number for number, value in enumerate(inputs)}
    readers: list[tuple[Value, int]] = []
    for node in graph.nodes:
        look = looks.get((node.path, node.count), Look(line=node.path))
        number = len(texts)
        shape = ", ".join(str(value.type) for value in node.outputs)
        called = f" (call {node.count})" if node.count > 1 else ""
        tooltip = f"{node.path or 'the root'}{called}: {node.typename} → {shape}\n{look.more}"
        texts.append((node.typename, look.line or "the root", tooltip, look.level))
        readers += [(value, number) for value in node.inputs]
        maker |= {value.id: number for value in node.outputs}
    for i, value in enumerate(outputs):
        readers.append((value, len(texts)))
        texts.append((name_of("output", outputs, i), "", str(value.type), "end"))
    edges = [(maker[value.id], reader) for value, reader in readers]
    sizes = Sizes(ranks=ranks_a_column(len(texts)))
    placed = place(len(texts), edges, sizes)
    boxes = tuple(
        Box(short(title), short(line), printable(tooltip.strip(), 600), kind, *corner)
        for (title, line, tooltip, kind), corner in zip(texts, placed.corners, strict=True)
    )
    return Diagram(boxes, wires_of(readers, placed), placed.width, placed.height, sizes)


def wires_of(readers: list[tuple[Value, int]], placed: Placed) -> tuple[Wire, ...]:
    """Every edge; the shape of a value is written at the first of its edges."""
    labelled: set[int] = set()
    wires: list[Wire] = []
    for (value, _), route in zip(readers, placed.routes, strict=True):
        label = "" if value.id in labelled else str(value.type)
        labelled.add(value.id)
        wires.append(Wire(curve(route), label, route[0][0] + 4, route[0][1] + 13))
    return tuple(wires)


def curve(points: tuple[Point, ...]) -> str:
    """A path through the points: straight down where they are aligned, else a vertical S."""
    parts = [f"M{points[0][0]:.0f} {points[0][1]:.0f}"]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if abs(x0 - x1) < 1 or y1 <= y0:
            parts.append(f"L{x1:.0f} {y1:.0f}")
        else:
            middle = (y0 + y1) / 2
            parts.append(f"C{x0:.0f} {middle:.0f} {x1:.0f} {middle:.0f} {x1:.0f} {y1:.0f}")
    return "".join(parts)


def ranks_a_column(boxes: int) -> int:
    """The number of ranks per column: drawings become about as tall as wide."""
    return max(12, math.ceil(1.8 * math.sqrt(boxes)))


def name_of(name: str, values: list[Value], position: int) -> str:
    return name if len(values) == 1 else f"{name} {position + 1}"


def short(text: str) -> str:
    """Text that fits into a box; the tooltip shows all of it."""
    text = printable(text)
    return text if len(text) <= TITLE_LENGTH else f"{text[: TITLE_LENGTH - 1]}…"
