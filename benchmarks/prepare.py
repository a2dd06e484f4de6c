"""What the runtimes open for one net at one size: the same weights in every format."""

from __future__ import annotations

import pickle
import subprocess
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.models import BenchmarkNet
from porter import torch7
from porter.conversion.pipeline import convert
from porter.conversion.request import Request
from porter.emit.settings import ExportOptions, TFLiteSettings
from porter.errors import PorterError
from porter.frontend.model_file import open_model
from porter.ir.graph import Graph, TensorType
from porter.layer_maps import default_registry
from porter.parity import recording
from porter.parity.recording import as_arrays

LEVELS = {
    "none": ExportOptions(optimized="none"),
    "exact": ExportOptions(optimized="exact"),
    "fast": ExportOptions(optimized="fast"),
    "bfloat16": ExportOptions(precision="bfloat16"),
}
"""What is asked of porter, by the name of the folder."""
REPOSITORY = Path(__file__).parent.parent


def recorded(net: BenchmarkNet) -> tuple[Any, Any]:
    """Torch's input, and its output or None where no such file was kept."""
    found = recording.read(net.recording) if net.recording.is_file() else None
    if found is not None and found.input is not None:
        return found.input, found.output
    fed = as_arrays(torch7.read(net.folder / "input.t7").root, "input")
    return fed, None if found is None else found.output


def ports(net: BenchmarkNet, folder: Path, levels: Collection[str]) -> None:
    """porter's SavedModels of these levels, each verified by its conversion."""
    shapes = () if net.shapes else (recorded(net)[0].shape,)
    for level, export in LEVELS.items():
        if level not in levels:
            continue
        request = Request(
            net.model, folder / level, shapes, formats=("saved_model",), export=export
        )
        convert(replace(request, force=True))
    if not net.by_hand:
        frozen = Request(
            net.model, folder / "frozen", formats=("frozen",), force=True, export=LEVELS["fast"]
        )
        convert(frozen)
        export = ExportOptions(data_format="channels_first")
        with suppress(PorterError):  # a row of the table then says so
            convert(replace(frozen, output=folder / "onnx", formats=("onnx",), export=export))


def prepare(
    net: BenchmarkNet, x: Any, converted: Path, folder: Path, torch_python: str | None
) -> dict[str, str]:
    """Files for the input `x` in `folder`, beside links to the ports in `converted`.

    Returns why what could not be made could not.
    """
    folder.mkdir(parents=True)
    for level in converted.iterdir():
        if level.name in LEVELS:
            (folder / level.name).symlink_to(level / "saved_model")
    np.save(folder / "input.npy", x)
    problems: dict[str, str] = {}
    graph = open_model(net.model, default_registry()).model().walk(TensorType(x.shape))
    if net.by_hand:
        handwritten(graph, folder)
    else:
        (folder / "frozen").symlink_to(converted / "frozen/frozen")
        onnx = converted / "onnx/model.onnx"
        if onnx.exists():
            (folder / "net.onnx").symlink_to(onnx)
        else:
            problems["ONNX"] = "no ONNX of this net"
    try:
        litert(net, graph, x, folder)
    except Exception as error:
        problems["LiteRT"] = str(error).splitlines()[0]
    with open(folder / "graph.pickle", "wb") as file:
        pickle.dump(plain(graph), file)
    if torch_python is None or not net.by_hand:
        return problems
    done = subprocess.run(
        [torch_python, "-m", "benchmarks.export_onnx", str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        problems["ONNX"] = done.stderr.strip().splitlines()[-1]
    return problems


def plain(graph: Graph) -> Graph:
    """The graph without the modules that its calls point to."""
    return replace(graph, calls=(), notes=())


def handwritten(graph: Graph, folder: Path) -> None:
    """`handwritten/`: a SavedModel with open sizes."""
    import tensorflow as tf

    from benchmarks.handwritten import handwritten as write
    from porter.ir.nested import leaves

    (input,) = leaves(graph.inputs)
    run = write(graph)
    fed = list(input.type.shape)
    if input.type.rank == 4:
        fed.append(fed.pop(1))
        free = "View" not in {node.typename.rpartition(".")[2] for node in graph.nodes}
        spec = tf.TensorSpec([None, *([None, None] if free else fed[1:3]), fed[3]], name="input")
    else:
        spec = tf.TensorSpec(fed, name="input")
    module = tf.Module()
    module.serve = tf.function(
        lambda x: {f"output{i}": y for i, y in enumerate(run(x))}, input_signature=[spec]
    )
    module.weights = list(module.serve.get_concrete_function().variables)
    tf.saved_model.save(module, str(folder / "handwritten"), signatures=module.serve)
    fixed = tf.function(module.serve, input_signature=[tf.TensorSpec(fed)])
    concrete = fixed.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    (folder / "naive.tflite").write_bytes(converter.convert())


def litert(net: BenchmarkNet, graph: Graph, x: Any, folder: Path) -> None:
    """`porter.tflite`, for this size."""
    folder_of_port = folder / "converted-tflite"
    request = Request(
        net.model,
        folder_of_port,
        input_shapes=(x.shape,),
        formats=("tflite",),
        settings={"tflite": TFLiteSettings()},
        force=True,
    )
    convert(request)
    (folder / "porter.tflite").symlink_to(folder_of_port / "model.tflite")
