"""One loop over a plan's steps: a backend gets what each step asks for, and nothing is kept."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from porter.errors import InvariantError
from porter.ir.layout import LayoutConversion, Step, plan, plan_in_torch_order
from porter.runtime import reference
from porter.runtime.interpreter import interpret, output_list
from porter.torch7 import TorchObject
from tests.build import classifier, conv, image, model, randn, relu, sequential, small_net


class Names:
    """A backend whose tensors tell how they were computed."""

    def apply(self, step: Step, inputs: list[str]) -> list[str]:
        return [f"{step.node.path}({', '.join(inputs)})" for _ in step.node.outputs]

    def convert(self, step: LayoutConversion, tensor: str) -> str:
        return f"{step.after} of {tensor}"


def test_a_backend_is_handed_the_tensors_in_the_layouts_that_its_steps_ask_for() -> None:
    graph = model(sequential(relu(), conv(3, 4))).walk(image(1, 3, 5, 5))
    steps = plan(graph, "channels_first")
    outputs = interpret(steps, {graph.inputs.id: "x"}, Names())
    assert list(outputs.values()) == ["torch of 2(order 0231 of 1(x))"]


class Tensor:
    """Something that can be waited for to be dropped."""


class Watching:
    """A backend that counts how many of its tensors are alive."""

    def __init__(self) -> None:
        self.alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
        self.most = 0

    def new(self) -> Tensor:
        tensor = Tensor()
        self.alive.add(tensor)
        self.most = max(self.most, len(self.alive))
        return tensor

    def apply(self, step: Step, inputs: list[Tensor]) -> list[Tensor]:
        return [self.new() for _ in step.node.outputs]

    def convert(self, step: LayoutConversion, tensor: Tensor) -> Tensor:
        return self.new()


def test_tensors_are_dropped_after_their_last_use() -> None:
    graph = model(sequential(*(relu() for _ in range(40)))).walk(image(1, 2, 4, 4))
    watching = Watching()
    interpret(plan(graph), {graph.inputs.id: Tensor()}, watching)
    assert watching.most <= 3


@pytest.mark.parametrize("net", [small_net, classifier])
def test_a_plan_in_torch_order_converts_nothing(net: Callable[[], TorchObject]) -> None:
    steps = plan_in_torch_order(model(net()).walk(image(1, 3, 8, 8)))
    assert list(steps.node_steps()) == list(steps.steps)
    assert all(layout.is_torch for step in steps.node_steps() for layout in step.outputs)


def test_the_reference_gives_every_value() -> None:
    graph = model(classifier()).walk(image(1, 3, 8, 8))
    x = randn(1, 3, 8, 8).astype(np.float64)
    values = reference.run(graph, {graph.inputs.id: x})
    assert {i: array.shape for i, array in values.items()} == {
        value.id: value.shape for value in graph.values()
    }


@pytest.mark.parametrize("result", [(), ("y", "y"), ["y", "y"]])
def test_a_layer_returns_what_its_shape_rule_says(result: Any) -> None:
    (node,) = model(relu()).walk(image(1, 3, 5, 5)).nodes
    with pytest.raises(InvariantError, match=r"nn.ReLU returns \d outputs, its shape rule 1"):
        output_list(node, result)
    assert output_list(node, "y") == output_list(node, ["y"]) == output_list(node, ("y",))
