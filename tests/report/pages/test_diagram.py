"""Drawings of networks: every layer once, no box on another, every edge from maker to reader."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ElementTree

import pytest

from porter.apps.inspect import Inspection, inspect
from porter.errors import UsageError
from porter.frontend.model_file import open_model
from porter.ir.graph import Graph
from porter.ir.nested import leaves
from porter.layer_maps import default_registry
from porter.report.pages.cost import multiply_adds
from porter.report.pages.diagram import draw
from porter.report.pages.layered import Sizes, place
from tests.build import FIXTURES, concat_table, conv, image, linear, model, sequential, torch_module

NETS = ("hourglass_nngraph", "unet_nested_concat", "texture_nets_johnson_slim")


def inspected(net: str) -> Inspection:
    return inspect(open_model(FIXTURES / "nets" / net / "model.t7", default_registry()))


def graph_of(net: str) -> Graph:
    graph = inspected(net).graph
    assert graph is not None
    return graph


@pytest.mark.parametrize("net", NETS)
def test_boxes_do_not_overlap_and_all_are_inside(net: str) -> None:
    graph = graph_of(net)
    diagram = draw(graph)
    assert diagram is not None
    ends = len(list(leaves(graph.inputs))) + len(list(leaves(graph.outputs)))
    assert len(diagram.boxes) == len(graph.nodes) + ends
    width, height = diagram.sizes.width, diagram.sizes.height
    for a, b in itertools.combinations(diagram.boxes, 2):
        assert abs(a.x - b.x) >= width or abs(a.y - b.y) >= height, (a.line, b.line)
    for box in diagram.boxes:
        assert 0 <= box.x <= diagram.width - width
        assert 0 <= box.y <= diagram.height - height
    reads = sum(len(node.inputs) for node in graph.nodes) + len(list(leaves(graph.outputs)))
    assert len(diagram.wires) == reads


def test_routes_lead_from_the_foot_of_one_box_to_the_head_of_another() -> None:
    sizes = Sizes(ranks=3)
    edges = [(0, 1), (1, 2), (2, 3), (3, 4), (0, 4)]
    placed = place(5, edges, sizes)
    for (source, target), points in zip(edges, placed.routes, strict=True):
        x, y = placed.corners[source]
        assert points[0] == pytest.approx((x + sizes.width / 2, y + sizes.height))
        x, y = placed.corners[target]
        assert points[-1] == pytest.approx((x + sizes.width / 2, y))


def test_a_tall_graph_is_folded_into_columns() -> None:
    placed = place(30, [(i, i + 1) for i in range(29)], Sizes(ranks=10))
    assert len({x for x, _ in placed.corners}) == 3


def test_shapes_stand_at_the_edges_once_for_each_value() -> None:
    net = sequential(concat_table(conv(3, 4), conv(3, 4)), torch_module("nn.CAddTable"))
    diagram = draw(model(net).walk(image(1, 3, 9, 9)))
    assert diagram is not None
    labels = [wire.label for wire in diagram.wires if wire.label]
    assert sorted(labels) == ["1×3×9×9", "1×4×7×7", "1×4×7×7", "1×4×7×7"]


def test_what_is_too_large_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("porter.report.pages.diagram.MAX_BOXES", 3)
    assert draw(graph_of("lenet_mm_tanh")) is None


# Pages of `porter inspect` -----------------------------------------------------------------------


def test_the_svg_of_a_net_is_well_formed_and_names_every_layer() -> None:
    pytest.importorskip("jinja2")
    from porter.apps.network_page import render_html, render_svg

    found = inspected("lenet_mm_tanh")
    assert found.graph is not None
    root = ElementTree.fromstring(render_svg(found))
    titles = [each.text or "" for each in root.iter("{http://www.w3.org/2000/svg}title")]
    for node in found.graph.nodes:
        assert any(title.startswith(f"{node.path}: {node.typename}") for title in titles)
    assert f"{found.parameters:,}" in render_html(found)


def test_a_model_that_cannot_be_walked_has_no_drawing() -> None:
    pytest.importorskip("jinja2")
    from porter.apps.network_page import render_html, render_svg

    path = FIXTURES / "formats" / "model_unknown_user_class.t7"
    found = inspect(open_model(path, default_registry()))
    with pytest.raises(UsageError, match="nothing to draw"):
        render_svg(found)
    assert "unmapped" in render_html(found)


# Multiply-adds -----------------------------------------------------------------------------------


def test_multiply_adds_of_layers_counted_by_hand() -> None:
    def cost(net: object, *shape: int) -> int:
        return sum(map(multiply_adds, model(net).walk(image(*shape)).nodes))  # type: ignore[arg-type]

    assert cost(conv(3, 4, kernel=3), 2, 3, 9, 8) == 2 * 4 * 7 * 6 * 3 * 3 * 3
    assert cost(linear(6, 5), 10, 6) == 10 * 6 * 5
    full = torch_module(
        "nn.SpatialFullConvolution",
        nInputPlane=3,
        nOutputPlane=2,
        kW=3,
        kH=3,
        dW=2,
        dH=2,
        weight=conv(3, 2).fields["weight"].array.transpose(1, 0, 2, 3).copy(),
    )
    assert cost(full, 1, 3, 5, 4) == 5 * 4 * 3 * 2 * 3 * 3
    assert cost(torch_module("nn.Tanh"), 1, 3, 5, 4) == 0
