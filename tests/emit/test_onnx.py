"""ONNX files: what is in them; the gate compares what ONNX Runtime computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from porter.conversion.pipeline import Conversion, convert
from porter.conversion.request import Request
from porter.emit import onnx as onnx_format
from porter.emit.settings import ExportOptions
from porter.errors import EmitError, UsageError
from porter.system.tensorflow import tf
from tests.build import FIXTURES, batch_norm, conv, relu, run, sequential, torch_module
from tests.write_t7 import write_t7

NET = sequential(
    torch_module("nn.SpatialReflectionPadding", pad_l=1, pad_r=1, pad_t=1, pad_b=1),
    conv(3, 16, stride=2, seed=1),
    batch_norm(16),
    relu(),
)


def converted(folder: Path, **options: Any) -> Conversion:
    model = write_t7(folder / "model.t7", NET)
    return convert(Request(model, folder / "port", formats=("onnx",), **options))


def opened(port: Conversion) -> Any:
    return onnx.load(port.output / "model.onnx")


def sizes(value: Any) -> list[Any]:
    return [each.dim_param or each.dim_value for each in value.type.tensor_type.shape.dim]


def test_sizes_are_open_and_weights_go_by_torch_path(tmp_path: Path) -> None:
    port = converted(tmp_path)
    graph = opened(port).graph
    (image,), (output,) = graph.input, graph.output
    assert sizes(image) == ["batch", "height", "width", 3]
    assert sizes(output) == ["batch", "output_height", "output_width", 16]
    names = {each.name: tuple(each.dims) for each in graph.initializer}
    assert names["2.weight"] == (16, 3, 3, 3)
    operations = [node.op_type for node in graph.node]
    assert operations.count("Conv") == 1
    assert "BatchNormalization" not in operations
    session = onnxruntime.InferenceSession(port.output / "model.onnx")
    x = np.random.default_rng(0).standard_normal((2, 9, 14, 3)).astype(np.float32)
    (y,) = session.run(None, {"input": x})
    expected = run(NET, x.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(y.transpose(0, 3, 1, 2), expected, rtol=1e-5, atol=1e-6)


def test_channels_first(tmp_path: Path) -> None:
    (image,) = opened(converted(tmp_path, export=ExportOptions("channels_first"))).graph.input
    assert sizes(image) == ["batch", 3, "height", "width"]


def test_weights_of_any_size_lie_beside_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(onnx_format, "LARGEST", 100)
    port = converted(tmp_path)
    assert (port.output / "model.onnx.data").is_file()
    (row,) = port.emitted
    assert row.measure is not None
    assert row.measure.max_rel < 1e-6


def test_loops_and_several_inputs(tmp_path: Path) -> None:
    for number, name in enumerate(("zaremba_core", "two_inputs_gmodule")):
        model = FIXTURES / f"field/inputs/{name}.t7"
        port = convert(Request(model, tmp_path / str(number), formats=("onnx",)))
        assert len(opened(port).graph.input) > 1


def test_a_text_of_any_length_loops(tmp_path: Path) -> None:
    model = FIXTURES / "field/inputs/rnnlm_T.t7"
    port = convert(Request(model, tmp_path / "port", ((5, 3),), formats=("onnx", "saved_model")))
    (text,) = opened(port).graph.input
    assert sizes(text) == ["time", "batch"]
    session = onnxruntime.InferenceSession(port.output / "model.onnx")
    serve = tf.saved_model.load(str(port.output / "saved_model")).signatures["serving_default"]
    for shape in ((5, 3), (1, 1), (2, 9)):
        x = np.random.default_rng(0).integers(1, 9, shape)
        (y,) = session.run(None, {"input": x})
        (expected,) = serve(input=tf.constant(x)).values()
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_what_tf2onnx_cannot_express_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError("Tensorflow op [NoSuch] is not supported\nand more")

    monkeypatch.setattr("tf2onnx.convert.from_graph_def", refuse)
    with pytest.raises(EmitError, match="tf2onnx cannot express the net") as caught:
        converted(tmp_path)
    assert caught.value.received == "Tensorflow op [NoSuch] is not supported"
    assert not (tmp_path / "port").exists()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package tf2onnx"):
        onnx_format.FORMAT.check({})
