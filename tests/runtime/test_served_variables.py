"""What is served holds small parameters as constants, and reads large ones from variables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from porter.emit.port import Port, build_widest
from porter.emit.settings import ExportOptions
from porter.frontend.inputs import types_of
from porter.runtime.runner import SMALL, Variables
from porter.system.tensorflow import tf
from tests.build import batch_norm, model, randn, sequential, torch_module

INPUTS, OUTPUTS = 80, 64


def ported(**options: Any) -> Port:
    weight = randn(OUTPUTS, INPUTS)
    assert weight.nbytes > SMALL
    linear = torch_module("nn.Linear", weight=weight, bias=randn(OUTPUTS))
    net = sequential(linear, batch_norm(OUTPUTS, kind=""))
    types = types_of(randn(2, INPUTS))
    return build_widest(model(net), types, Variables(), ExportOptions(**options))


def names(variables: Any) -> set[str]:
    return {variable.name for variable in variables}


@pytest.mark.parametrize("level", ["none", "exact"])
def test_small_parameters_are_constants(level: str) -> None:
    port = ported(optimized=level)
    assert names(port.module.weights) == {"1.weight:0"}
    for function in (port.serve, port.activations.get_concrete_function()):
        assert len(function.graph.captures) == 1
    assert {"1.weight", "1.bias", "2.running_mean"} <= port.variables.by_name.keys()


def test_constants_are_named_by_path() -> None:
    graph = ported(optimized="none").serve.graph
    constants = {each.name: each for each in graph.get_operations() if each.type == "Const"}
    assert "1/bias" in constants


def test_what_is_trained_on_has_variables_alone() -> None:
    port = ported(trainable=True)
    assert {"1.weight:0", "1.bias:0", "2.running_mean:0"} <= names(port.module.variables)
    x = tf.constant(randn(2, INPUTS))
    before = port.serve(x)["output"].numpy()
    port.variables.by_name["1.bias"].assign_add(np.ones(OUTPUTS))
    assert abs(port.serve(x)["output"].numpy() - before).max() > 0.1
