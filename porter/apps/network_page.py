"""The network as a picture: what `porter inspect` shows, in HTML or as one SVG."""

from __future__ import annotations

from collections import Counter

from porter.apps.inspect import Inspection
from porter.errors import UsageError
from porter.ir.graph import Graph
from porter.report.pages.cost import multiply_adds
from porter.report.pages.diagram import MAX_BOXES, Diagram, Look, draw
from porter.report.pages.html import environment

HEAVY = 0.1
"""Layers with more than this share of the parameters or multiply-adds are marked."""


def render_html(inspection: Inspection) -> str:
    """A page: what the file is, the drawing, and the module tree."""
    costs = Counter[str]()
    for node in inspection.graph.nodes if inspection.graph else ():
        costs[node.path] += multiply_adds(node)
    parameters = {line.path: line.parameters for line in inspection.lines}
    page: str = (
        environment()
        .get_template("network.html")
        .render(
            inspection=inspection,
            facts=facts_of(inspection, sum(costs.values())),
            diagram=None
            if inspection.graph is None
            else diagram_of(inspection.graph, parameters, costs),
            costs=costs,
        )
    )
    return page


def render_svg(inspection: Inspection) -> str:
    """The drawing alone. Raises UsageError where there is nothing to draw."""
    if inspection.graph is None:
        raise UsageError("there is nothing to draw", received=inspection.input_note)
    costs = Counter[str]()
    for node in inspection.graph.nodes:
        costs[node.path] += multiply_adds(node)
    diagram = diagram_of(
        inspection.graph, {line.path: line.parameters for line in inspection.lines}, costs
    )
    if diagram is None:
        raise UsageError(f"a drawing of more than {MAX_BOXES} layers is not made")
    drawing: str = (
        environment().get_template("diagram.svg").render(diagram=diagram, standalone=True)
    )
    return drawing


def diagram_of(graph: Graph, parameters: dict[str, int], costs: Counter[str]) -> Diagram | None:
    """Boxes with path, parameters and multiply-adds; those with a large share are marked."""
    most_parameters = max(sum(parameters.values()), 1)
    most_costs = max(sum(costs.values()), 1)
    looks = {}
    for node in graph.nodes:
        parameter_count, cost = parameters.get(node.path, 0), costs[node.path]
        share = max(parameter_count / most_parameters, cost / most_costs)
        counts = (parameter_count and f"{short(parameter_count)} p", cost and f"{short(cost)} ma")
        numbers = ", ".join(each for each in counts if each)
        looks[node.path, node.count] = Look(
            "heavy" if share > HEAVY else "",
            " · ".join(each for each in (node.path, numbers) if each),
            f"{parameter_count:,} parameters, {cost:,} multiply-adds" if numbers else "",
        )
    return draw(graph, looks)


def facts_of(inspection: Inspection, cost: int) -> list[tuple[str, str]]:
    """What the file is."""
    facts = [
        ("file", f"{inspection.name} ({inspection.size:,} bytes), Torch7 {inspection.format}"),
        ("parameters", f"{inspection.parameters:,}"),
        ("input", f"{inspection.input_shape or 'unknown'} ({inspection.input_note})"),
        ("saved in", ", ".join(f"{mode} ×{count}" for mode, count in inspection.modes.items())),
        ("classes", ", ".join(f"{name} ×{count}" for name, count in inspection.classes.items())),
    ]
    if inspection.graph is not None:
        facts.insert(2, ("multiply-adds", f"{cost:,} for this input"))
    if inspection.wrapper:
        facts.append(("taken", f"{inspection.selected} of {', '.join(inspection.wrapper)}"))
    if inspection.unmapped:
        facts.append(("unmapped", ", ".join(inspection.unmapped)))
    return facts


def short(count: int) -> str:
    """A count in three or four characters: 12k, 3.4M."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)
