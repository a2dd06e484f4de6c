"""`frozen.pb` and `frozen/`: the graph with its weights as constants, for runtimes that only run.

Batch normalisations are folded into the layers before them and identities dropped (fold.py), so the
numbers differ from the SavedModel's by rounding. `frozen.pb` is a GraphDef for TensorFlow 1.x
(`tf.compat.v1.import_graph_def`) and for tools that read nothing else; the manifest names its
tensors, `input:0` and `output:0`. `frozen/` is a SavedModel without variables, with the signature
`serving_default`: the same graph, optimised as far as that takes no branches and no loops.

A session copies each constant about five times. Where the weights are large, the graph that was
loaded again is therefore fed with the constants that were read from it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from porter.emit.formats import Emitter, ExportJob, ExportResult, size_of
from porter.emit.graph_def import write_graph_def, write_saved_model
from porter.emit.port import Port, build
from porter.emit.subprocess_runner import run_frozen
from porter.errors import EmitError
from porter.ir.fields import Param
from porter.ir.nested import named_leaves
from porter.passes import optimize_constants
from porter.passes.fold import fuse
from porter.runtime.runner import Variables, scope_of
from porter.system.tensorflow import tf

LARGEST = 2**31 - 2**20
"""Bytes of weights; a protocol buffer, which a GraphDef is, ends at 2³¹."""
LARGE = 2**28
"""Bytes of weights above which a session would need too much memory for them as constants."""


class Frozen(Emitter):
    """A GraphDef of constants, and a SavedModel around it."""

    name = "frozen"

    def emit(self, job: ExportJob, folder: Path) -> list[ExportResult]:
        weights, least = Constants(job.port.variables), job.port.least
        plain, level = job.options.plain(), job.options.level
        fused = fuse(job.port.graph)
        rewritten = optimize_constants(fused, level)
        port = build(fused, weights, plain, least=least)
        unchanged = rewritten.nodes == fused.nodes
        fastest = port if unchanged else build(rewritten, weights, plain, least=least)
        saved, file = folder / "frozen", folder / "frozen.pb"
        size = max(map(weights_size, (port, fastest)))
        write_file(port, weights, file)
        write_folder(fastest, weights, saved)
        samples = [check.inputs for check in job.checks]
        tensors = tensor_names(port)
        of_folder, of_file = run_frozen(folder, samples, tensors["outputs"], size > LARGE)
        fewer = len(job.port.graph.nodes) - len(port.graph.nodes)
        note = f"{fewer} of {len(job.port.graph.nodes)} layers folded or dropped"
        return [
            ExportResult(
                self.name,
                job.compare(outputs),
                size_of(path),
                note,
                path.name,
                details={"tensors": tensors} if path == file else {},
            )
            for path, outputs in ((saved, of_folder), (file, of_file))
        ]


class Constants(Variables):
    """Weights as tensors, which a traced graph takes as further inputs instead of holding them.

    Those that a port has already are its variables'; folded ones are new.
    """

    def __init__(self, port: Variables) -> None:
        super().__init__(port.precision)
        self.by_key = port.extended().by_key
        self.tensors: dict[int, Any] = {}
        self.names: dict[int, str] = {}

    def get(self, path: str, param: Param, rows: tuple[int, ...]) -> Any:
        """The tensor of a parameter, the same at every call."""
        variable = super().get(path, param, rows)
        if id(variable) not in self.tensors:
            with tf.init_scope():
                tensor = self.tensors[id(variable)] = variable.read_value()
            self.names[id(tensor)] = f"{path}.{param.name}" if path else param.name
        return self.tensors[id(variable)]


def weights_size(port: Port) -> int:
    """Bytes of all weights. Raises EmitError if a GraphDef cannot hold them."""
    captured = [tensor for tensor, _ in port.serve.graph.captures]
    size: int = sum(math.prod(tensor.shape) * tensor.dtype.size for tensor in captured)
    if size > LARGEST:
        raise EmitError(
            "a GraphDef cannot hold the model's weights",
            received=f"{size:,} bytes of at most {LARGEST:,}",
            hint="leave `frozen` out of `formats=`, or `fast`, which transforms filters, out of "
            "`optimize=`",
        )
    return size


def write_file(port: Port, weights: Constants, path: Path) -> None:
    """The GraphDef of a port that was traced on `weights`."""
    write_graph_def(path, *with_constants(port, weights))


def write_folder(port: Port, weights: Constants, folder: Path) -> None:
    """The SavedModel of a port that was traced on `weights`."""
    graph = port.serve.graph
    named = ((port.graph.inputs, "input"), (port.graph.outputs, "output"))
    inputs, outputs = (
        {name: graph.get_tensor_by_name(f"{name}:0") for name, _ in named_leaves(*each)}
        for each in named
    )
    write_saved_model(folder, *with_constants(port, weights), inputs, outputs)


def with_constants(port: Port, weights: Constants) -> tuple[Any, dict[str, Any]]:
    """The graph's definition, and its constants by the names of the nodes that they replace."""
    definition = port.serve.graph.as_graph_def()
    used = {node.name for node in definition.node}
    renamed: dict[str, str] = {}
    constants: dict[str, Any] = {}
    for tensor, placeholder in port.serve.graph.captures:
        name = f"weights/{scope_of(weights.names[id(tensor)])}"
        while name in used:
            name += "_"
        used.add(name)
        renamed[placeholder.op.name], constants[name] = name, tensor
    for node in definition.node:
        node.name = renamed.get(node.name, node.name)
        node.input[:] = [renamed.get(source, source) for source in node.input]
    return definition, constants


def tensor_names(port: Port) -> dict[str, dict[str, str]]:
    """The graph's tensors by the signature's names."""
    return {
        "inputs": {name: f"{name}:0" for name, _ in named_leaves(port.graph.inputs, "input")},
        "outputs": {name: f"{name}:0" for name, _ in named_leaves(port.graph.outputs, "output")},
    }


FORMAT = Frozen()
