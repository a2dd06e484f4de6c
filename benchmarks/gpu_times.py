"""What a call of a net takes: porter at every level, plain and by XLA, Keras and PyTorch eager.

Run by `gpu.py` in a process of its own. Prints lines of JSON: what is planned, then each net's rows
when its runtimes have run in turn. A call ends when the device has computed its output, which stays
there. Errors are those against the plain layers in float64 on the CPU.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

PORTER = ("none", "exact", "fast")
PREPARATION = 0.7
"""Of a net's seconds: after them no other runtime is started."""
LEAST_ROUNDS = 3


@dataclass
class Runtime:
    """One way to compute a net. `open` gives the call, which returns what `output` makes an array
    in Torch's order of; it raises what tells why there is none."""

    name: str
    open: Callable[[], Callable[[], Any]]
    output: Callable[[Any], Any]
    call: Callable[[], Any] | None = None
    row: dict[str, Any] = field(default_factory=dict)


def main(settings: dict[str, Any]) -> None:
    """`settings`: `nets` of the zoo by name or a `model` with its `shape`; `tf32`, `cpu`, `rounds`
    and `until` (in seconds of time.time)."""
    # What libraries print must not be taken for a result.
    results, sys.stdout = sys.stdout, sys.stderr

    def report(**fields: Any) -> None:
        print(json.dumps(fields), file=results, flush=True)

    if not settings["tf32"]:
        os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    from porter.system.tensorflow import tf

    tf.config.experimental.enable_tensor_float_32_execution(settings["tf32"])
    with tempfile.TemporaryDirectory() as place:
        nets = list(models(settings, Path(place) / "model.t7"))
        report(planned=[name for name, _, _ in nets])
        for number, (name, write, x) in enumerate(nets):
            left = settings["until"] - time.time()
            if left <= 0:
                break
            until = time.time() + left / (len(nets) - number)
            report(name=name, **timed(write(), x, until, settings))


def models(settings: dict[str, Any], place: Path) -> Iterator[tuple[str, Callable[[], Path], Any]]:
    """Name and shape, what writes the model or finds it, and an input; the smallest first."""
    random = np.random.default_rng(1)
    if settings["model"]:
        path, shape = Path(settings["model"]), tuple(settings["shape"])
        x = random.standard_normal(shape).astype(np.float32)
        yield f"{path.parent.name}/{path.name} {'×'.join(map(str, shape))}", lambda: path, x
        return
    from benchmarks.models import ZOO

    def written(make: Callable[[Path], None]) -> Path:
        make(place)
        return place

    by_name = {net.name: net for net in ZOO}
    for name in settings["nets"]:
        net = by_name[name]
        (shape,), make = net.shapes, net.make
        assert make is not None
        x = random.standard_normal(shape).astype(np.float32)
        if net.tokens:
            x = random.integers(1, net.tokens + 1, shape).astype(np.float32)
        yield f"{name} {'×'.join(map(str, shape))}", partial(written, make), x


def timed(path: Path, x: Any, until: float, settings: dict[str, Any]) -> dict[str, Any]:
    """Rows of times, and the runtimes that were left out when time was short."""
    from porter.frontend.model_file import open_model
    from porter.layer_maps import default_registry

    started = time.time()
    model = open_model(path, default_registry()).model()
    runtimes = list(runtimes_of(model, x, settings))
    left_out: list[str] = []
    truth = in_float64(model, x)
    for runtime in runtimes:
        if time.time() - started > PREPARATION * (until - started):
            left_out.append(runtime.name)
            continue
        runtime.row = {"runtime": runtime.name, "times": [], "error": None, "problem": ""}
        try:
            began = time.perf_counter()
            call = runtime.open()
            opened = time.perf_counter()
            output = call()
            runtime.row |= {"open": opened - began, "first": time.perf_counter() - opened}
            array = np.asarray(runtime.output(output), np.float64).reshape(truth.shape)
            runtime.row["error"] = float(abs(array - truth).max() / truth.std())
            call()
            runtime.call = call
        except Exception as error:  # A runtime that fails is a row of the table.
            runtime.row["problem"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    running = [runtime for runtime in runtimes if runtime.call is not None]
    for turn in range(settings["rounds"]):
        if turn >= LEAST_ROUNDS and time.time() > until:
            break
        for runtime in running[turn % 2 :] + running[: turn % 2]:
            assert runtime.call is not None
            began = time.perf_counter()
            runtime.call()
            runtime.row["times"].append(1e3 * (time.perf_counter() - began))
    return {"rows": [runtime.row for runtime in runtimes if runtime.row], "left_out": left_out}


def in_float64(model: Any, x: Any) -> Any:
    """The first output by the plain layers in double precision, on the CPU: another device's
    arithmetic."""
    from porter.apps.check.checker import emitted_outputs
    from porter.emit.port import build_widest
    from porter.ir.graph import TensorType
    from porter.runtime.runner import Variables
    from porter.system.tensorflow import tf

    with tf.device("/CPU:0"):
        port = build_widest(model, TensorType(x.shape), Variables("float64"))
        return emitted_outputs(port, x.astype(np.float64))[0]


def runtimes_of(model: Any, x: Any, settings: dict[str, Any]) -> Iterator[Runtime]:
    """The ways to compute a net here; XLA comes last, since it may compile for long."""
    from porter.emit.port import build_widest
    from porter.emit.settings import ExportOptions
    from porter.ir.graph import TensorType
    from porter.ir.nested import leaves
    from porter.runtime.runner import Variables, load, store
    from porter.system.tensorflow import tf

    variables = Variables()

    @cache
    def port(level: str) -> Any:
        options = ExportOptions(optimized=level)
        return build_widest(model, TensorType(x.shape), variables, options)

    def fed(level: str) -> Any:
        (value,) = leaves(port(level).graph.inputs)
        return store(x, value, port(level).plan.inputs[value.id], "float32")

    def served(level: str, xla: bool) -> Callable[[], Any]:
        function = port(level).module.__call__
        if xla:
            function = tf.function(function, jit_compile=True, autograph=False)
        return ended(partial(function, fed(level)), tf.test.experimental.sync_devices)

    def in_torch_order(level: str, output: Any) -> Any:
        value = next(leaves(port(level).graph.outputs))
        return load(first(output), port(level).plan.outputs[value.id])

    def by_keras() -> Callable[[], Any]:
        return keras_eager(port("none"), np.asarray(fed("none")), settings)

    def from_keras(output: Any) -> Any:
        import keras

        return in_torch_order("none", keras.ops.convert_to_numpy(first(output)))

    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    found = settings["cpu"] or bool(tf.config.list_physical_devices("GPU"))
    for level in PORTER if found else ():
        yield Runtime(level, partial(served, level, False), partial(in_torch_order, level))
    if found or backend != "tensorflow":
        yield Runtime(f"Keras on {backend}", by_keras, from_keras)
    yield Runtime(
        "PyTorch eager",
        partial(torch_eager, model, x, settings),
        lambda output: first(output).cpu().numpy(),
    )
    for level in ("exact", "fast", "none") if found else ():
        yield Runtime(f"{level}, XLA", partial(served, level, True), partial(in_torch_order, level))


def first(output: Any) -> Any:
    """The first tensor of an output."""
    while isinstance(output, list | tuple | dict):
        output = output[min(output) if isinstance(output, dict) else 0]
    return output


def ended(call: Callable[[], Any], wait: Callable[[], Any]) -> Callable[[], Any]:
    """A call that returns when the device has computed its output."""

    def run() -> Any:
        output = call()
        wait()
        return output

    return run


def keras_eager(port: Any, stored: Any, settings: dict[str, Any]) -> Callable[[], Any]:
    """The model of `--format keras` called as it is, on the backend that KERAS_BACKEND names.

    Raises RuntimeError where that sees no GPU.
    """
    import keras

    from porter.emit.keras.network import build

    net, _ = build(port.plan, port.variables)
    x = keras.ops.convert_to_tensor(stored)
    backend = keras.backend.backend()
    if backend == "jax":
        jax: Any = importlib.import_module("jax")
        if not settings["cpu"] and jax.default_backend() != "gpu":
            raise RuntimeError("JAX sees no GPU")
        return lambda: jax.block_until_ready(net(x))
    if backend == "torch":
        torch = torch_with_gpu(settings)
        return ended(torch.inference_mode()(partial(net, x)), partial(wait_for_torch, torch))
    from porter.system.tensorflow import tf

    return ended(partial(net, x), tf.test.experimental.sync_devices)


def torch_eager(model: Any, x: Any, settings: dict[str, Any]) -> Callable[[], Any]:
    """PyTorch as it is, on the same card. Raises RuntimeError where it sees none."""
    from benchmarks.torch_net import torch_net
    from porter.ir.graph import TensorType

    torch = torch_with_gpu(settings)
    device = "cpu" if settings["cpu"] else "cuda"
    net = torch_net(model.walk(TensorType(x.shape))).to(device)
    fed = torch.from_numpy(x).to(device)
    return ended(torch.inference_mode()(partial(net, fed)), partial(wait_for_torch, torch))


def torch_with_gpu(settings: dict[str, Any]) -> Any:
    """PyTorch, with TF32 as the settings say. Raises RuntimeError where it sees no GPU."""
    import torch

    if not (settings["cpu"] or torch.cuda.is_available()):
        raise RuntimeError("PyTorch sees no GPU")
    torch.backends.cuda.matmul.allow_tf32 = settings["tf32"]
    torch.backends.cudnn.allow_tf32 = settings["tf32"]
    return torch


def wait_for_torch(torch: Any) -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
