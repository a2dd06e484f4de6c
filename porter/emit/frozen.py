"""`frozen.pb` and `frozen/`: the graph with its weights as constants, for runtimes that only run.

Batch normalisations are folded into the layers before them and identities dropped (fuse.py), so the
numbers differ from the SavedModel's by rounding. `frozen.pb` is a GraphDef for TensorFlow 1.x
(`tf.compat.v1.import_graph_def`) and for tools that read nothing else; the manifest names its
tensors, `input:0` and `output:0`. `frozen/` is the same graph as a SavedModel without variables,
with the signature `serving_default`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from porter.emit.formats import Emitter, ExportJob, ExportResult, size_of
from porter.emit.port import Port, build, of_its_shape
from porter.emit.subprocess_runner import run_frozen_graph, run_saved_model
from porter.errors import EmitError
from porter.ir.nested import named_leaves
from porter.passes.fold import fuse
from porter.runtime.runner import Variables
from porter.system.tensorflow import quiet_stderr, tf

LARGEST = 2**31 - 2**20
"""Bytes of weights; a protocol buffer, which a GraphDef is, ends at 2³¹."""


class Frozen(Emitter):
    """A GraphDef of constants, and a SavedModel around it."""

    name = "frozen"

    def emit(self, job: ExportJob, folder: Path) -> list[ExportResult]:
        # Variables of its own: the folded weights are none of the checkpoint's.
        port = build(fuse(job.port.graph), Variables(), job.options.plain(), least=job.port.least)
        saved, file = self.write_port(port, folder)
        samples = [check.inputs for check in job.checks]
        tensors = tensor_names(port)
        runs = {
            saved: run_saved_model(saved, samples),
            file: run_frozen_graph(file, samples, tensors["outputs"]),
        }
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
            for path, outputs in runs.items()
        ]

    def write_port(self, port: Port, folder: Path) -> tuple[Path, Path]:
        """The SavedModel and the GraphDef of a port."""
        saved, file = folder / "frozen", folder / "frozen.pb"
        definition = constant_graph(port)
        file.write_bytes(definition.SerializeToString(deterministic=True))
        names = tensor_names(port)

        def serve(*tensors: Any) -> dict[str, Any]:
            outputs = tf.graph_util.import_graph_def(
                definition,
                input_map=dict(zip(names["inputs"].values(), tensors, strict=True)),
                return_elements=list(names["outputs"].values()),
                name="",
            )
            return dict(zip(names["outputs"], outputs, strict=True))

        module = tf.Module(name="frozen")
        specs = port.serve.structured_input_signature[0]
        traced = tf.function(serve, input_signature=specs, autograph=False)
        module.serve = of_its_shape(traced.get_concrete_function())
        with quiet_stderr():
            tf.saved_model.save(module, str(saved), signatures=module.serve)
        return saved, file


def constant_graph(port: Port) -> Any:
    """The GraphDef of a port with every variable's value in it. Raises EmitError if too large."""
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    size = sum(math.prod(v.shape) * v.dtype.size for v in port.variables.by_key.values())
    if size > LARGEST:
        raise EmitError(
            "a GraphDef cannot hold the model's weights",
            received=f"{size:,} bytes of at most {LARGEST:,}",
            hint="leave `frozen` out of `formats=`",
        )
    with quiet_stderr():
        return convert_variables_to_constants_v2(
            port.serve, lower_control_flow=False
        ).graph.as_graph_def()


def tensor_names(port: Port) -> dict[str, dict[str, str]]:
    """The graph's tensors by the signature's names."""
    return {
        "inputs": {name: f"{name}:0" for name, _ in named_leaves(port.graph.inputs, "input")},
        "outputs": {name: f"{name}:0" for name, _ in named_leaves(port.graph.outputs, "output")},
    }


FORMAT = Frozen()
