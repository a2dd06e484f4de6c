"""Graphs of constants: what is in them, and that they compute what the model does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.conversion.pipeline import Conversion, convert
from porter.conversion.request import Request
from porter.emit import frozen
from porter.errors import EmitError
from porter.system.tensorflow import tf
from tests.build import (
    batch_norm,
    conv,
    dropout,
    linear,
    randn,
    relu,
    run,
    sequential,
    torch_module,
    view,
)
from tests.write_t7 import write_t7

NET = sequential(
    conv(3, 4, pad=1, stride=2, seed=1),
    batch_norm(4),
    relu(),
    view(64, sample_rank=3),
    dropout(),
    linear(64, 5, seed=2),
)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    folder = tmp_path_factory.mktemp("frozen")
    model = write_t7(folder / "model.t7", NET)
    return convert(Request(model, folder / "port", ((3, 8, 8),), formats=("frozen",)))


def graph_of(folder: Path) -> Any:
    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString((folder / "frozen.pb").read_bytes())
    return definition


def test_the_graph_holds_constants_and_no_normalisation(port: Conversion) -> None:
    operations = [node.op for node in graph_of(port.output).node]
    assert not {"VarHandleOp", "ReadVariableOp", "Rsqrt", "Mul"} & set(operations)
    assert operations.count("Placeholder") == 1
    assert operations.count("Conv2D") == 1


def test_other_ranks_are_refused(port: Conversion) -> None:
    serve = tf.saved_model.load(str(port.output / "frozen")).signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"expected shape \[\?,8,8,3\]"):
        serve(input=tf.ones((8, 8, 3)))


def test_both_files_have_a_row_and_meet_the_gate(port: Conversion) -> None:
    assert [row.variant for row in port.emitted] == ["frozen", "frozen.pb"]
    for row in port.emitted:
        assert row.exact
        assert row.measure is not None
        assert 0 < row.measure.max_rel <= 1e-5
        assert row.note == "2 of 6 layers folded or dropped"


def test_old_runtimes_find_the_tensors_that_the_manifest_names(port: Conversion) -> None:
    manifest = json.loads((port.output / "manifest.json").read_text())
    (row,) = (each for each in manifest["emitted"] if each["variant"] == "frozen.pb")
    ((_, fed),) = row["details"]["tensors"]["inputs"].items()
    ((_, fetched),) = row["details"]["tensors"]["outputs"].items()
    x = randn(3, 3, 8, 8)
    with tf.Graph().as_default() as graph:
        tf.compat.v1.import_graph_def(graph_of(port.output), name="")
        with tf.compat.v1.Session(graph=graph) as session:
            outputs = session.run(fetched, {fed: np.moveaxis(x, 1, -1)})
    np.testing.assert_allclose(outputs, run(NET, x), rtol=1e-4, atol=1e-4)


def test_the_saved_model_has_the_signature_and_no_variables(port: Conversion) -> None:
    loaded = tf.saved_model.load(str(port.output / "frozen"))
    assert not loaded.trainable_variables if hasattr(loaded, "trainable_variables") else True
    x = randn(2, 3, 8, 8)
    serve = loaded.signatures["serving_default"]
    assert not serve.variables
    outputs = serve(input=tf.constant(np.moveaxis(x, 1, -1)))
    assert list(outputs) == ["output"]
    np.testing.assert_allclose(outputs["output"], run(NET, x), rtol=1e-4, atol=1e-4)


def test_a_loop_over_time_can_be_frozen(tmp_path: Path) -> None:
    step = torch_module("nn.Sequencer", modules=[linear(3, 2)])
    model = write_t7(tmp_path / "model.t7", step)
    done = convert(Request(model, tmp_path / "port", ((4, 2, 3),), formats=("frozen",)))
    assert all(row.measure is not None and row.measure.within(1e-5) for row in done.emitted)


@pytest.mark.parametrize("net", [NET, torch_module("nn.Sequencer", modules=[linear(3, 2)])])
def test_graphs_of_large_weights_are_fed_with_their_constants(
    net: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is fed is read from the files: another number there is another result."""
    monkeypatch.setattr(frozen, "LARGE", 0)
    model = write_t7(tmp_path / "model.t7", net)
    shape = (3, 8, 8) if net is NET else (4, 2, 3)
    done = convert(Request(model, tmp_path / "port", (shape,), formats=("frozen",)))
    assert all(row.measure is not None and row.measure.within(1e-5) for row in done.emitted)
    sample = {"input": np.ones((1, 8, 8, 3) if net is NET else shape, np.float32)}
    definition = graph_of(done.output)
    weight = next(node for node in definition.node if node.name.startswith("weights/"))

    def outputs() -> list[Any]:
        runs = frozen.run_frozen(done.output, [sample], {"output": "output:0"}, large=True)
        return [run[0]["output"] for run in runs]

    before, numbers = outputs(), weight.attr["value"].tensor.tensor_content
    for file in (done.output / "frozen" / "saved_model.pb", done.output / "frozen.pb"):
        assert file.read_bytes().count(numbers) == 1
        file.write_bytes(file.read_bytes().replace(numbers, bytes(len(numbers))))
    for old, new in zip(before, outputs(), strict=True):
        assert not np.allclose(old, new)


def test_weights_are_named_by_their_torch_paths(port: Conversion) -> None:
    names = [node.name for node in graph_of(port.output).node if node.name.startswith("weights/")]
    assert names[:2] == ["weights/1.weight", "weights/1.bias"]


def test_what_a_graph_cannot_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "LARGEST", 100)
    model = write_t7(tmp_path / "model.t7", NET)
    with pytest.raises(EmitError, match="cannot hold the model's weights"):
        convert(Request(model, tmp_path / "port", ((3, 8, 8),), formats=("frozen",)))
    assert not (tmp_path / "port").exists()
