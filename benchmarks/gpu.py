"""What is served on a GPU, in full float32, beside PyTorch on the same card.

    python -m benchmarks.gpu MODEL.t7 --shape 1x3x512x512

Where TensorFlow sees a GPU its graph is timed at every level, plain and compiled by XLA; otherwise
the `.keras` model is, by Keras on PyTorch or JAX (set KERAS_BACKEND). TF32, which keeps ten bits of
each factor, is switched off, so that errors compare with those on CPU; `--tf32` leaves it on.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 30


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--shape", default="1x3x512x512", help="N×C×H×W")
    parser.add_argument("--tf32", action="store_true", help="let products round to ten bits")
    options = parser.parse_args()
    shape = tuple(map(int, options.shape.split("x")))
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    import tensorflow as tf

    found = bool(tf.config.list_physical_devices("GPU"))
    tf.config.experimental.enable_tensor_float_32_execution(options.tf32)
    calls = by_tensorflow(options.model, x) if found else by_keras(options.model, x)
    calls |= by_pytorch(options.model, x, options.tf32)
    if not calls:
        sys.exit("no GPU that TensorFlow, Keras or PyTorch sees")
    for call in calls.values():
        call()
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append(1e3 * (time.perf_counter() - began))
    outputs = {name: call() for name, call in calls.items()}
    truth = next(iter(outputs.values()))
    for name, took in times.items():
        error = abs(outputs[name] - truth).max() / truth.std()
        middle = statistics.median(took)
        print(f"{name:24} median {middle:8.2f} ms, min {min(took):8.2f} ms, error {error:.1e}")


def by_tensorflow(model: Path, x: Any) -> dict[str, Callable[[], Any]]:
    """Every level, as it is and compiled; outputs in Torch's order, on the host."""
    import tensorflow as tf

    from porter.emit.port import build_widest
    from porter.emit.settings import ExportOptions
    from porter.frontend.model_file import open_model
    from porter.ir.graph import TensorType
    from porter.layer_maps import default_registry
    from porter.passes import LEVELS
    from porter.runtime.runner import Variables

    opened = open_model(model, default_registry()).model()
    fed = tf.constant(np.moveaxis(x, 1, -1))
    calls: dict[str, Callable[[], Any]] = {}
    for level in LEVELS:
        options = ExportOptions(optimized=level)
        port = build_widest(opened, TensorType(x.shape), Variables(), options)
        compiled = tf.function(port.module.__call__, jit_compile=True, autograph=False)
        for name, function in ((level, port.module.__call__), (f"{level}, XLA", compiled)):
            calls[name] = partial(channels_first, function, fed)
    return calls


def channels_first(function: Callable[[Any], Any], fed: Any) -> Any:
    """Call a function that takes and returns N×H×W×C; the result is N×C×H×W in NumPy."""
    return np.moveaxis(function(fed).numpy(), -1, 1)


def by_keras(model: Path, x: Any) -> dict[str, Callable[[], Any]]:
    """The `.keras` model on the backend that KERAS_BACKEND names, if that is not TensorFlow."""
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        return {}
    import keras

    from porter.conversion.pipeline import convert
    from porter.conversion.request import Request

    with tempfile.TemporaryDirectory() as place:
        convert(Request(model, Path(place) / "made", formats=("keras",)))
        (file,) = (Path(place) / "made").rglob("*.keras")
        net = keras.models.load_model(file)
    fed = np.moveaxis(x, 1, -1)
    name = f"Keras on {keras.backend.backend()}"
    return {name: lambda: np.moveaxis(keras.ops.convert_to_numpy(net(fed)), -1, 1)}


def by_pytorch(model: Path, x: Any, tf32: bool) -> dict[str, Callable[[], Any]]:
    """PyTorch eager, where it is installed and sees a GPU."""
    try:
        import torch
    except ModuleNotFoundError:
        return {}
    if not torch.cuda.is_available():
        return {}
    from benchmarks.torch_net import torch_net
    from porter.frontend.model_file import open_model
    from porter.ir.graph import TensorType
    from porter.layer_maps import default_registry

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    graph = open_model(model, default_registry()).model().walk(TensorType(x.shape))
    net = torch_net(graph).cuda()
    fed = torch.from_numpy(x).cuda()

    def call() -> Any:
        with torch.inference_mode():
            return net(fed)[0].cpu().numpy()

    return {"PyTorch eager": call}


if __name__ == "__main__":
    main()
