"""How each runtime opens a net: a function that makes one call and returns the first output.

Outputs of images are N×C×H×W. `folder` holds what `prepare.py` made for one net at one size:
`input.npy` in Torch's order, `exact/`, `fast/`, `bfloat16/`, `none/`, `frozen/`, `handwritten/`
(SavedModels), `net.onnx`, `porter.tflite`, `naive.tflite`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

THREADS = int(os.environ.get("BENCHMARK_THREADS", "0")) or len(os.sched_getaffinity(0))

INTEGERS = {"tensor(int32)": "int32", "tensor(int64)": "int64"}
"""Inputs of ONNX Runtime that are indices."""

Call = Callable[[], Any]


def torch_order(outputs: Any) -> Any:
    """A channels-last output as Torch has it."""
    import numpy as np

    array = np.asarray(outputs)
    return np.moveaxis(array, -1, 1) if array.ndim == 4 else array


def channels_last(x: Any) -> Any:
    import numpy as np

    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if x.ndim == 4 else x


def saved_model(name: str) -> Callable[[Path, Any], Call]:
    def open_net(folder: Path, x: Any) -> Call:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(THREADS)
        module = tf.saved_model.load(str(folder / name))
        serve = module.signatures["serving_default"]
        ((input_name, spec),) = serve.structured_input_signature[1].items()
        fed = tf.constant(channels_last(x), spec.dtype)
        named_inputs = {input_name: fed}

        def call() -> Any:
            outputs = serve(**named_inputs)
            return torch_order(outputs[min(outputs)].numpy())

        call.keep = module  # type: ignore[attr-defined]
        return call

    return open_net


def open_torch_net(folder: Path) -> Any:
    import pickle

    from benchmarks.torch_net import torch_net

    with open(folder / "graph.pickle", "rb") as file:
        return torch_net(pickle.load(file))


def torch_eager(folder: Path, x: Any) -> Call:
    import torch

    torch.set_num_threads(THREADS)
    net, fed = open_torch_net(folder), torch.from_numpy(x)

    def call() -> Any:
        with torch.inference_mode():
            return net(fed)[0].numpy()

    return call


def torch_compile(folder: Path, x: Any) -> Call:
    import torch

    torch.set_num_threads(THREADS)
    # The compiler does not look through porter's classes; a trace holds PyTorch's calls alone.
    net = torch.compile(torch.fx.symbolic_trace(open_torch_net(folder)))
    fed = torch.from_numpy(x)

    def call() -> Any:
        with torch.inference_mode():
            return net(fed)[0].numpy()

    return call


def onnxruntime(folder: Path, x: Any) -> Call:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = ort.InferenceSession(
        str(folder / "net.onnx"), options, providers=["CPUExecutionProvider"]
    )
    input = session.get_inputs()[0]
    fed = x.astype(INTEGERS.get(input.type, "float32"))
    return lambda: session.run(None, {input.name: fed})[0]


def openvino(folder: Path, x: Any) -> Call:
    import openvino as ov

    settings = {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY"}
    net = ov.Core().compile_model(
        str(folder / "net.onnx"), "CPU", settings | {"INFERENCE_PRECISION_HINT": "f32"}
    )
    request = net.create_infer_request()
    fed = x.astype(net.input(0).element_type.to_dtype())
    return lambda: request.infer({0: fed})[net.output(0)]


def opencv(folder: Path, x: Any) -> Call:
    import cv2

    cv2.setNumThreads(THREADS)
    net = cv2.dnn.readNetFromONNX(str(folder / "net.onnx"))

    def call() -> Any:
        net.setInput(x)
        return net.forward()

    return call


def litert(name: str) -> Callable[[Path, Any], Call]:
    def open_net(folder: Path, x: Any) -> Call:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(folder / name), num_threads=THREADS)
        run = interpreter.get_signature_runner("serving_default")
        ((input_name, detail),) = run.get_input_details().items()
        fed = channels_last(x).astype(detail["dtype"])

        def call() -> Any:
            outputs = run(**{input_name: fed})
            return torch_order(outputs[min(outputs)])

        call.keep = interpreter  # type: ignore[attr-defined]
        return call

    return open_net


def importing(*names: str) -> Callable[[], None]:
    def run() -> None:
        for name in names:
            importlib.import_module(name)

    return run


OPEN: dict[str, Callable[[Path, Any], Call]] = {
    "porter exact": saved_model("exact"),
    "porter fast": saved_model("fast"),
    "porter bfloat16": saved_model("bfloat16"),
    "porter none": saved_model("none"),
    "porter frozen": saved_model("frozen"),
    "hand-written": saved_model("handwritten"),
    "PyTorch eager": torch_eager,
    "torch.compile": torch_compile,
    "ONNX Runtime": onnxruntime,
    "OpenVINO": openvino,
    "OpenCV": opencv,
    "LiteRT, porter's export": litert("porter.tflite"),
    "LiteRT, naive export": litert("naive.tflite"),
}

MODULE = {
    "porter": "tensorflow",
    "hand": "tensorflow",
    "PyTorch": "torch",
    "torch": "torch",
    "ONNX": "onnxruntime",
    "OpenVINO": "openvino",
    "OpenCV": "cv2",
    "LiteRT": "ai_edge_litert.interpreter",
}
"""What a runtime is imported by, under the first part of its name."""

IMPORTS = {
    name: importing(next(module for part, module in MODULE.items() if name.startswith(part)))
    for name in OPEN
}
