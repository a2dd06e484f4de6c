"""What is needed no more after a step: of a graph, and of whatever else has steps."""

from __future__ import annotations

from porter.ir.liveness import dead_after, dead_values, last_uses, reader_counts
from tests.build import concat_table, conv, image, model, relu, sequential, torch_module


def test_the_last_use_is_a_read_or_the_definition() -> None:
    assert last_uses([["x", "y"], ["y", "z"], ["x"]]) == {"x": 2, "y": 1, "z": 1}


def test_results_never_die() -> None:
    steps = [["x", "y"], ["y", "z"], ["z", "unread"]]
    assert dead_after(steps, ["z"]) == {0: ["x"], 1: ["y"], 2: ["unread"]}


def test_values_are_needed_until_their_last_reader() -> None:
    net = sequential(concat_table(conv(3, 4), conv(3, 4)), torch_module("nn.CAddTable"), relu())
    graph = model(net).walk(image(1, 3, 5, 5))
    dead = dead_values(graph)
    first, second, total, last = (node.outputs[0].id for node in graph.nodes)
    assert dead == {1: [graph.inputs.id], 2: [first, second], 3: [total]}
    assert last not in {value for values in dead.values() for value in values}


def test_an_output_of_the_graph_is_a_reader() -> None:
    net = sequential(concat_table(relu(), relu()), torch_module("nn.CAddTable"))
    graph = model(net).walk(image(1, 3, 5, 5))
    first, second, total = (node.outputs[0].id for node in graph.nodes)
    assert reader_counts(graph) == {graph.inputs.id: 2, first: 1, second: 1, total: 1}
