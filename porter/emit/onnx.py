"""`model.onnx`: for ONNX Runtime, OpenCV, OpenVINO and whatever else reads ONNX; made by tf2onnx.

The layers are those of `frozen`: as they are, with batch normalisations folded. tf2onnx holds
constants several times, which for a net of 500 MB took more than 20 GB. It is therefore given the
graph with its weights as inputs, which become initializers afterwards, named by their Torch path.
Sizes that are free stay so. Weights beyond what a protocol buffer holds lie in `model.onnx.data`.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from porter.emit.formats import ExportJob, Format
from porter.emit.port import Port, build, stored_shapes
from porter.emit.subprocess_runner import run_onnx
from porter.errors import EmitError
from porter.ir.fields import Array, Param
from porter.ir.nested import named_leaves
from porter.parity.measure import Measure
from porter.passes.fold import fuse
from porter.runtime.runner import Variables
from porter.system.extras import require
from porter.system.quiet import quiet_stderr
from porter.system.tensorflow import tf

OPSET = 17
FILE = "model.onnx"
LARGEST = 2**31 - 2**24
"""Bytes of weights in one file; a protocol buffer ends at 2³¹."""
IMAGE_AXES = {
    "channels_last": ("batch", "height", "width", "channels"),
    "channels_first": ("batch", "channels", "height", "width"),
}


class WeightInputs(Variables):
    """The weights of a model as inputs of the function that is traced, with their values apart."""

    def __init__(self) -> None:
        super().__init__()
        self.arrays: dict[str, Array] = {}

    def get(self, path: str, param: Param, rows: tuple[int, ...]) -> Any:
        """The placeholder of a parameter, in the outermost function."""
        key = (param.key, param.axes, param.to, rows)
        if key not in self.by_key:
            name = self.free_name(f"{path}.{param.name}" if path else param.name)
            with tf.init_scope():
                array = np.asarray(self.stored(param, rows))
            with outermost_graph().as_default(), tf.name_scope(""):
                placeholder = tf.compat.v1.placeholder(array.dtype, array.shape, name)
            self.by_key[key] = placeholder
            self.by_name[name] = placeholder
            self.arrays[placeholder.name] = array
        return self.by_key[key]


def outermost_graph() -> Any:
    """The graph of the function that is traced, outside of its loops and branches."""
    graph = tf.compat.v1.get_default_graph()
    while getattr(getattr(graph, "outer_graph", None), "outer_graph", None) is not None:
        graph = graph.outer_graph
    return graph


class Onnx(Format):
    """ONNX by tf2onnx, run by ONNX Runtime."""

    name = "onnx"

    def check(self, settings: Mapping[str, Any]) -> None:
        for package in ("tf2onnx", "onnx", "onnxruntime"):
            require(package, package, "the format 'onnx'")

    def write(self, job: ExportJob, folder: Path) -> list[Path]:
        import onnx

        weights = WeightInputs()
        options = job.options.plain()
        port = build(fuse(job.port.graph), weights, options, least=job.port.least)
        model = converted(port)
        fill(model.graph, weights.arrays)
        name_sizes(model.graph, port, job.free)
        path = folder / FILE
        total = sum(array.nbytes for array in weights.arrays.values())
        if total > LARGEST:
            onnx.save_model(model, path, save_as_external_data=True, location=f"{FILE}.data")
        else:
            path.write_bytes(model.SerializeToString(deterministic=True))
        del model
        try:
            onnx.checker.check_model(str(path))
        except onnx.checker.ValidationError as error:
            raise EmitError(
                "tf2onnx left operations of TensorFlow's in the graph",
                received=" ".join(str(error).split())[:200],
                hint="leave `onnx` out of `formats=`",
            ) from error
        return sorted(folder.glob(f"{FILE}*"))

    def verify(self, job: ExportJob, folder: Path) -> tuple[Measure | None, str]:
        samples = [check.inputs for check in job.checks]
        measure = job.compare(run_onnx(folder / FILE, samples))
        return measure, f"opset {OPSET}, by ONNX Runtime"


def converted(port: Port) -> Any:
    """The ModelProto of a port whose weights are inputs. Raises EmitError for other operations."""
    import tf2onnx

    inputs = [f"{name}:0" for name, _ in named_leaves(port.graph.inputs, "input")]
    outputs = [f"{name}:0" for name, _ in named_leaves(port.graph.outputs, "output")]
    weights = [tensor.name for tensor in port.variables.by_key.values()]
    names = [*inputs, *outputs, *weights]
    definition = port.serve.graph.as_graph_def()
    functions = (function.node_def for function in definition.library.function)
    for node in itertools.chain(definition.node, *functions):
        # tf2onnx knows loops as functions, and not what TensorFlow makes of them to run them.
        node.attr.pop("_lower_using_switch_merge", None)
    with quiet():
        try:
            model, _ = tf2onnx.convert.from_graph_def(
                definition,
                input_names=[*inputs, *weights],
                output_names=outputs,
                opset=OPSET,
                tensors_to_rename={name: name.removesuffix(":0") for name in names},
            )
        except Exception as error:  # tf2onnx raises whatever it stumbles over
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise EmitError(
                "tf2onnx cannot express the net in ONNX",
                received=first[:300],
                hint="leave `onnx` out of `formats=`",
            ) from error
    model.producer_name = "porter"
    return model


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep tf2onnx and TensorFlow from telling of every step."""
    loggers = [logging.getLogger("tf2onnx"), tf.get_logger()]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with quiet_stderr():
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def fill(graph: Any, arrays: Mapping[str, Array]) -> None:
    """Make initializers of the inputs that are weights, in the order in which they are read."""
    import onnx

    values = {name.removesuffix(":0"): array for name, array in arrays.items()}
    uses = Counter(name for node in graph.node for name in node.input)
    orders: dict[str, list[Any]] = {}
    for node in graph.node:
        if node.op_type == "Transpose" and node.input[0] in values:
            orders.setdefault(node.input[0], []).append(node)
    renamed: dict[str, str] = {}
    for name, nodes in orders.items():
        orders_of_name = {tuple(node.attribute[0].ints) for node in nodes}
        if len(nodes) == uses[name] and len(orders_of_name) == 1:
            values[name] = values[name].transpose(*orders_of_name)
            for node in nodes:
                renamed[node.output[0]] = name
                graph.node.remove(node)
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
    inputs = [each for each in graph.input if each.name not in values]
    del graph.input[:]
    graph.input.extend(inputs)
    read = {name for node in graph.node for name in node.input} | inner_names(graph)
    for name in sorted(values):
        if name in read:
            array = np.ascontiguousarray(values.pop(name))
            graph.initializer.append(onnx.numpy_helper.from_array(array, name))


def inner_names(graph: Any) -> set[str]:
    """What the bodies of loops and branches read, of the graph around them too."""
    names: set[str] = set()
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                names |= {name for each in inner.node for name in each.input} | inner_names(inner)
    return names


def name_sizes(graph: Any, port: Port, free: Mapping[str, Sequence[str]]) -> None:
    """Call free sizes by what they are, and the graph by what it comes from.

    `free` has the names of the free axes of every input in Torch's order. Outputs begin with the
    axis that the inputs begin with.
    """
    graph.name = "port"
    shapes = stored_shapes(port.graph, port.options.data_format)
    images = IMAGE_AXES[port.options.data_format]
    first = next((axes[0] for axes in free.values() if axes), "batch")
    for value in (*graph.input, *graph.output):
        is_input, described = value in graph.input, shapes[value.name]
        dimensions = value.type.tensor_type.shape.dim
        names = list(images) if len(dimensions) == 4 else [first] * (not is_input)
        if is_input and len(dimensions) != 4:
            known = iter(free.get(value.name, ()))
            names = [next(known, "") if n is None else "" for n in described["torch_shape"]]
        for axis, dimension in enumerate(dimensions):
            name = names[axis] if axis < len(names) else ""
            if described["shape"][axis] is not None:
                dimension.dim_value = described["shape"][axis]
            elif not name.isidentifier():
                dimension.dim_param = f"{value.name}_{axis}"
            else:
                dimension.dim_param = name if is_input or axis == 0 else f"{value.name}_{name}"


FORMAT = Onnx()
