"""Outputs that Torch left in a model file: evidence where they agree, a note where they do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from porter.frontend.inputs import types_of
from porter.frontend.model_file import open_model
from porter.ir.nested import leaves
from porter.ir.registry import registering_into
from porter.layer_maps import default_registry
from porter.maps import Accepts, LayerMap, register
from porter.parity import compare as parity
from porter.parity import saved_outputs
from porter.parity.compare import LEFT_IN_FILE, REFERENCE, Report, Tolerance
from porter.runtime import reference
from porter.runtime.runner import Variables
from porter.torch7 import TorchObject
from tests.build import (
    FIXTURES,
    Array,
    conv,
    dropout,
    linear,
    lua,
    model,
    randn,
    relu,
    sequential,
    storage,
    tensor,
    torch_module,
)

CASES = FIXTURES / "field" / "left_outputs"


def with_outputs(net: TorchObject, x: Array) -> TorchObject:
    """The net as Torch would save it after a forward pass on `x`."""
    graph = model(net).walk(types_of(x))
    values = reference.run(graph, parity.bind(graph.inputs, x))
    for call in graph.calls:
        assert call.module is not None
        (value,) = leaves(call.output)
        call.module.fields["output"] = lua(values[value.id].astype(np.float32))
    return net


def child(net: TorchObject, number: int) -> TorchObject:
    module = net.table("modules")[number]
    assert isinstance(module, TorchObject)
    return module


def verified(net: TorchObject, registry: Any = None) -> Report | None:
    return saved_outputs.verify(model(net, registry), Variables("float32"), Tolerance())


def rows_of(report: Report | None) -> dict[str, tuple[str, bool, str]]:
    assert report is not None
    return {row.path: (row.oracle, row.passed, row.note) for row in report.rows}


def small_net() -> TorchObject:
    return sequential(linear(6, 5), relu(), linear(5, 4, seed=1), torch_module("nn.Tanh"))


def test_outputs_that_agree_are_the_oracle() -> None:
    report = verified(with_outputs(small_net(), randn(3, 6)))
    assert report is not None
    assert report.oracle == LEFT_IN_FILE
    assert report.input == "what Torch left in the file (3 of 3 layers agree)"
    assert report.notes == ()
    assert rows_of(report) == dict.fromkeys("234", (LEFT_IN_FILE, True, ""))


def test_stepped_weights_are_a_note() -> None:
    net = with_outputs(small_net(), randn(3, 6))
    child(net, 3).fields["weight"] = lua(randn(4, 5, seed=9))
    report = verified(net)
    oracle, passed, note = rows_of(report)["3"]
    assert (oracle, passed) == (REFERENCE, True)
    assert "the weights were stepped" in note
    assert report is not None
    assert report.notes == (f"3 (nn.Linear): {note}",)
    assert rows_of(report)["2"][0] == LEFT_IN_FILE


@pytest.mark.parametrize("typename", ["nn.Dropout", "nn.SpatialDropout", "nn.RReLU"])
def test_a_training_step_is_a_note(typename: str) -> None:
    layer = torch_module(typename, p=0.5, v2=True, train=True)
    net = with_outputs(sequential(conv(3, 4, 3), layer, relu()), randn(2, 3, 8, 9))
    saved = child(net, 2).tensor("output").array
    child(net, 2).fields["output"] = lua(saved * randn(*saved.shape))
    oracle, passed, note = rows_of(verified(net))["2"]
    assert (oracle, passed) == (REFERENCE, True)
    assert "training step" in note


def test_random_numbers_are_a_note() -> None:
    noise = torch_module("nn.NoiseFill", num_noise_channels=1, mult=1)
    net = with_outputs(sequential(conv(3, 4, 3), noise, relu()), randn(2, 3, 8, 9))
    saved = child(net, 2).tensor("output").array
    child(net, 2).fields["output"] = lua(saved + randn(*saved.shape))
    oracle, passed, note = rows_of(verified(net))["2"]
    assert (oracle, passed) == (REFERENCE, True)
    assert "draws random numbers" in note


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda y: np.where(np.arange(4) < 3, y, 0), "masked"),
        (np.exp, "changed it in place"),
    ],
)
def test_an_output_that_its_receiver_changed_is_a_note(change: Any, said: str) -> None:
    net = with_outputs(sequential(linear(6, 4), torch_module("nn.LogSoftMax")), randn(3, 6))
    changed = lua(change(child(net, 2).tensor("output").array).astype(np.float32))
    child(net, 2).fields["output"] = net.fields["output"] = changed
    oracle, passed, note = rows_of(verified(net))["2"]
    assert (oracle, passed) == (REFERENCE, True)
    assert said in note


def test_a_port_that_is_wrong_on_what_was_left_fails() -> None:
    """NumPy and TensorFlow differ, and what Torch left agrees with NumPy."""
    with registering_into(default_registry().copy()) as registry:

        @register("nn.Tanh", override=True)
        class Wrong(LayerMap):
            accepts = Accepts.ELEMENTWISE

            def reference(self, x: Array) -> Array:
                return np.tanh(x)

            def apply(self, tf: Any, x: Any, at: Any) -> Any:
                return tf.sin(x)

    oracle, passed, _ = rows_of(verified(with_outputs(small_net(), randn(3, 6)), registry))["4"]
    assert (oracle, passed) == (REFERENCE, False)


@pytest.mark.parametrize("shape", [(5,), (1,), (4, 5)])
def test_an_output_of_another_rank_proves_nothing(shape: tuple[int, ...]) -> None:
    net = sequential(conv(3, 4, 3), relu())
    child(net, 1).fields["output"] = lua(randn(*shape))
    assert verified(net) is None


def test_buffers_that_layers_share_prove_nothing() -> None:
    """Nets that save memory let one layer write where another's output was."""
    net = with_outputs(sequential(linear(6, 6), relu(), linear(6, 6), relu()), randn(3, 6))
    shared = storage(np.zeros(18, np.float32))
    for number in (1, 3):
        child(net, number).fields["output"] = tensor(np.zeros((3, 6), np.float32), shared)
    assert verified(net) is None


def test_left_over_dropout_with_its_mask_is_no_oracle() -> None:
    net = with_outputs(sequential(linear(6, 4), dropout(), relu()), randn(3, 6))
    assert rows_of(verified(net))["2"][0] == LEFT_IN_FILE


@pytest.mark.parametrize(
    ("name", "agree", "noted"),
    [
        ("agreeing", {"2"}, {}),
        ("changed_by_caller", set(), {"2": "changed it in place"}),
        ("dropout_classifier", {"4", "9", "10"}, {"5": "training step"}),
    ],
)
def test_what_real_torch_left(name: str, agree: set[str], noted: dict[str, str]) -> None:
    opened = open_model(CASES / f"{name}.t7", default_registry())
    report = saved_outputs.verify(opened.model(), Variables("float32"), Tolerance())
    rows = rows_of(report)
    assert all(passed for _, passed, _ in rows.values())
    assert {path for path, (oracle, *_) in rows.items() if oracle == LEFT_IN_FILE} == agree
    notes = {path: note for path, (_, _, note) in rows.items() if note}
    assert notes.keys() == noted.keys()
    assert all(noted[path] in note for path, note in notes.items())


def test_one_dimension_that_real_torch_left() -> None:
    opened = open_model(CASES / "one_dimension.t7", default_registry())
    assert saved_outputs.verify(opened.model(), Variables("float32"), Tolerance()) is None
