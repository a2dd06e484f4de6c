"""A language model that goes on where it stopped: the signature `step`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.conversion.pipeline import Conversion, convert
from porter.conversion.request import Request
from porter.emit.formats import ExportJob
from porter.emit.port import build_widest
from porter.emit.step_signature import state_types
from porter.errors import WalkError
from porter.frontend.stepping import resumable, with_states
from porter.ir.graph import INT, TensorType
from porter.ir.nested import leaves
from porter.parity import compare as parity
from porter.runtime import reference
from porter.runtime.runner import Variables
from porter.system.tensorflow import tf
from porter.torch7 import TorchObject
from tests.build import (
    concat_table,
    linear,
    model,
    randn,
    run,
    sequential,
    table,
    torch_module,
    view,
)
from tests.write_t7 import write_t7

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "serving.md"


def language_model(*layers: TorchObject, features: int) -> TorchObject:
    """torch-rnn's, with 5 tokens."""
    flat, back = view(1, -1), view(1, 1, -1)
    lookup = torch_module("nn.LookupTable", weight=randn(5, 4))
    net = sequential(lookup, *layers, flat, linear(features, 5), back)
    return torch_module("nn.LanguageModel", net=net, view1=flat, view2=back)


def lstm(inputs: int, hidden: int, seed: int) -> TorchObject:
    weight = 0.4 * randn(inputs + hidden, 4 * hidden, seed=seed)
    return torch_module("nn.LSTM", weight=weight, bias=randn(4 * hidden), remember_states=True)


def plain_rnn(inputs: int, hidden: int) -> TorchObject:
    return torch_module(
        "nn.VanillaRNN", weight=0.4 * randn(inputs + hidden, hidden), bias=randn(hidden)
    )


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    folder = tmp_path_factory.mktemp("language_model")
    root = language_model(lstm(4, 6, 1), plain_rnn(6, 3), features=3)
    return convert(Request(write_t7(folder / "model.t7", root), folder / "port"))


def step_of(done: Conversion) -> Any:
    return tf.saved_model.load(str(done.output / "saved_model")).signatures["step"]


# The graph ----------------------------------------------------------------------------------------


def test_every_state_becomes_an_input_and_an_output() -> None:
    root = language_model(lstm(4, 6, 1), plain_rnn(6, 3), features=3)
    types = with_states(model(root), TensorType((2, 3), INT))
    assert [type.shape for type in types] == [(2, 3), (2, 6), (2, 6), (2, 3)]
    graph = resumable(model(root)).walk([*types])
    assert [value.type.shape for value in leaves(graph.outputs)] == [
        (2, 3, 5),
        (2, 6),
        (2, 6),
        (2, 3),
    ]


def test_a_text_in_two_parts_makes_what_the_whole_makes() -> None:
    root = language_model(lstm(4, 6, 1), plain_rnn(6, 3), features=3)
    tokens = np.array([[1, 5, 2, 4, 4], [3, 1, 1, 2, 5]])
    outputs, states = [], [np.zeros((2, n)) for n in (6, 6, 3)]
    for part in (tokens[:, :2], tokens[:, 2:]):
        walked = resumable(model(root))
        graph = walked.walk([*with_states(walked, TensorType(part.shape, INT))])
        values = reference.run(graph, parity.bind(graph.inputs, [part, *states]))
        output, *states = (values[value.id] for value in leaves(graph.outputs))
        outputs.append(output)
    np.testing.assert_allclose(np.concatenate(outputs, axis=1), run(root, tokens), atol=1e-12)


def test_a_missing_state_is_an_error() -> None:
    root = language_model(lstm(4, 6, 1), features=6)
    with pytest.raises(WalkError, match="2 states"):
        resumable(model(root)).walk([TensorType((2, 3), INT)])


# The signature ------------------------------------------------------------------------------------


def test_the_signature_takes_any_batch_and_any_number_of_tokens(converted: Conversion) -> None:
    specs = step_of(converted).structured_input_signature[1]
    shapes = {name: tuple(spec.shape) for name, spec in specs.items()}
    assert shapes == {
        "token": (None, None),
        "state_1": (None, 6),
        "state_2": (None, 6),
        "state_3": (None, 3),
    }


def test_it_was_verified_and_the_report_says_so(converted: Conversion) -> None:
    (row,) = (row for row in converted.emitted if row.name == "saved_model")
    assert "with its states" in row.note


def test_step_by_step_it_makes_what_the_whole_sequence_makes(converted: Conversion) -> None:
    loaded = tf.saved_model.load(str(converted.output / "saved_model"))
    tokens = tf.constant([[1, 5, 2, 4], [3, 1, 1, 2], [2, 2, 2, 2]], tf.int64)
    (whole,) = loaded.signatures["serving_default"](tokens).values()
    states = {f"state_{n}": tf.zeros([3, size]) for n, size in ((1, 6), (2, 6), (3, 3))}
    for position in range(4):
        token = tokens[:, position : position + 1]
        results = loaded.signatures["step"](token=token, **states)
        states = {name: results[name] for name in states}
        np.testing.assert_allclose(results["output"][:, 0], whole[:, position], atol=1e-6)


def test_the_documented_lines_sample_a_text(
    converted: Conversion, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = DOCUMENTATION.read_text(encoding="utf-8").partition("## Sampling text")[2]
    (lines,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    monkeypatch.chdir(converted.output.parent)
    names: dict[str, Any] = {}
    exec(lines.replace("shakespeare_tensorflow", "port"), names)
    assert len(names["text"]) == 200
    assert set(names["text"]) <= set(range(1, 6))


def test_other_models_have_no_such_signature(converted: Conversion, tmp_path: Path) -> None:
    lookup = torch_module("nn.LookupTable", weight=randn(5, 4))
    source = write_t7(tmp_path / "model.t7", sequential(lookup, torch_module("nn.Tanh")))
    done = convert(Request(source, tmp_path / "port"))
    loaded = tf.saved_model.load(str(done.output / "saved_model"))
    assert "step" not in loaded.signatures


def recurrent() -> TorchObject:
    weights = 0.4 * randn(10, 24, seed=1)
    return torch_module("nn.SeqLSTM", weight=weights, bias=randn(24), batchfirst=True)


BACKWARDS = torch_module("nn.SeqReverseSequence", dim=2)
LAST = torch_module("nn.Select", dimension=2, index=-1)
SWAP = torch_module("nn.Transpose", permutations=table(table(1, 2)))


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param([BACKWARDS, recurrent(), BACKWARDS], id="backwards"),
        pytest.param([recurrent(), LAST, linear(6, 3)], id="last step"),
        pytest.param([recurrent(), view(-1, 6), linear(6, 3)], id="rows"),
        pytest.param([recurrent(), SWAP], id="time first"),
        pytest.param([recurrent(), concat_table(LAST, torch_module("nn.Tanh"))], id="two outputs"),
    ],
)
def test_what_is_not_made_step_by_step_has_no_step(
    tmp_path: Path, layers: list[TorchObject]
) -> None:
    """In two parts it would be another text: nothing to go on with, and no reason to refuse."""
    net = sequential(torch_module("nn.LookupTable", weight=randn(5, 4)), *layers)
    done = convert(Request(write_t7(tmp_path / "model.t7", net), tmp_path / "port"))
    assert "step" not in tf.saved_model.load(str(done.output / "saved_model")).signatures


def test_a_net_of_a_fixed_number_of_tokens_has_no_step() -> None:
    """torch-rnn's net as it was saved inside its LanguageModel, which sets the views."""
    lookup = torch_module("nn.LookupTable", weight=randn(5, 4))
    net = model(sequential(lookup, plain_rnn(4, 3), view(14, 3), linear(3, 5), view(2, 7, 5)))
    tokens = TensorType((2, 7), INT)
    job = ExportJob(net, tokens, build_widest(net, tokens, Variables()), ())
    assert with_states(net, tokens)[1:]
    assert state_types(job) == []
