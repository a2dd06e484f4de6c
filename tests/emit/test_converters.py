"""Other converters take a port by its signature `plain`, and compute what TensorFlow does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.conversion.pipeline import convert
from porter.conversion.request import Request
from porter.ir.layout import from_torch, image_layout
from porter.parity.recording import read
from porter.system.quiet import quiet_stderr
from porter.system.tensorflow import tf
from tests.build import FIXTURES

Array = Any
NETS = {
    "style": "nets/texture_nets_johnson_slim",
    "classifier": "nets/lenet_mm_tanh",
    "alexnet": "nets/alexnet_lrn_groups",
    "u-net": "zoo/pix2pix",
    "nested": "nets/unet_nested_concat",
    "many branches": "zoo/squeezenet",
    "sequences": "nets/temporal_convnet_text",
    "residual": "zoo/fast-neural-style",
}
"""Nets of eight kinds, run on the inputs that were recorded with them."""


@pytest.fixture(scope="module", params=NETS)
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The SavedModel that `convert` writes by default, an input, and the output."""
    name = NETS[request.param]
    folder = tmp_path_factory.mktemp("port")
    recording = read(FIXTURES / name / "activations.t7")
    model = FIXTURES / name / "model.t7"
    convert(Request(model, folder / "port", reference=recording, formats=("saved_model",)))
    loaded = tf.saved_model.load(str(folder / "port/saved_model"))
    serve = loaded.signatures["serving_default"]
    ((_, spec),) = serve.structured_input_signature[1].items()
    recorded: Any = recording.input
    # Torch takes a single sample without a batch as well.
    recorded = recorded[None] if recorded.ndim < len(spec.shape) else recorded
    x = from_torch(recorded, image_layout(recorded.ndim, "channels_last")).astype(
        spec.dtype.as_numpy_dtype
    )
    return folder / "port/saved_model", loaded, x, serve(input=tf.constant(x))["output"].numpy()


def by_tf2onnx(folder: Path, loaded: Any) -> Callable[[Array], Array]:
    import onnxruntime
    import tf2onnx
    from tf2onnx import tf_loader

    with quiet_stderr():
        graph, inputs, outputs = tf_loader.from_saved_model(
            str(folder), None, None, signatures=["plain"]
        )
        model, _ = tf2onnx.convert.from_graph_def(
            graph, input_names=inputs, output_names=outputs, opset=17
        )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return lambda x: session.run(None, {session.get_inputs()[0].name: x})[0]


def by_tflite_converter(folder: Path, loaded: Any) -> Callable[[Array], Array]:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=["plain"])
    with quiet_stderr():
        content = converter.convert()
    runner = interpreter.Interpreter(model_content=content).get_signature_runner("plain")
    return lambda x: runner(input=x)["output"]


def by_tensorflowjs(folder: Path, loaded: Any) -> Callable[[Array], Array] | None:
    converter = pytest.importorskip("tensorflowjs.converters")
    converter.convert_tf_saved_model(str(folder), str(folder.parent / "web"), signature_def="plain")
    return None


@pytest.mark.parametrize("convert_by", [by_tf2onnx, by_tflite_converter, by_tensorflowjs])
def test_a_port_is_taken_further(port: Any, convert_by: Callable[[Path, Any], Any]) -> None:
    folder, loaded, x, expected = port
    run = convert_by(folder, loaded)
    if run is not None:
        scale = np.abs(expected).max()
        np.testing.assert_allclose(run(x) / scale, expected / scale, atol=2e-5)
