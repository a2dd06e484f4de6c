"""`source/`: `model.py` and `weights.npz`, Python that a reader understands and TensorFlow runs.

    recorded calls ─layers→ lines ─blocks→ functions ─function→ text

The file needs TensorFlow and NumPy only. Each layer is one line; layers of several calls and
containers that occur again are functions.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from porter.emit.formats import ExportJob, Format
from porter.emit.port import Port
from porter.emit.source.blocks import block_function, function_of, outline
from porter.emit.source.family import numbered
from porter.emit.source.function import Function, letters
from porter.emit.source.layers import ModelLine, lines_of
from porter.emit.source.regions import Body
from porter.emit.source.shapes import formulas
from porter.emit.source.trace import RecordedPlan, record
from porter.emit.subprocess_runner import run_in_subprocess
from porter.emit.tracing.expression import Dict, Expression, Items, Ref
from porter.emit.tracing.printer import WIDTH
from porter.ir.graph import Value
from porter.ir.nested import Nested, named_leaves
from porter.parity.measure import Measure
from porter.runtime.runner import signature

HEAD = '''"""A Torch7 network as TensorFlow code, written by porter.

    network = load("weights.npz")
    {call}

Every line of `model` is a layer of the Torch module, or a function made of some; `w["4.1"]` are the
weights of its module 4.1. Comments give the path where the code does not, the Torch class, and the
shape of what is made, in the order in which it is stored.
"""

import numpy as np
import tensorflow as tf
'''

MODEL = "The whole network; `w` has the weights of every module, by path."

LOAD = '''def load(path):
    """The network as a function of {inputs}, with the weights in the archive `path`."""
    weights = {{}}
    with np.load(path) as archive:
        for key in archive.files:
            module, _, name = key.rpartition(".")
            weights.setdefault(module, {{}})[name] = tf.constant(archive[key])
{signature}
    def network({inputs}):
        return model({checked}, weights)

    return network
'''

AT_LEAST = '''def at_least(x, sizes):
    """`x`, once it is sure that each axis in `sizes` is as long; Torch refuses smaller images."""
    checks = []
    for axis, size in sizes.items():
        text = f"the image is too small for this net: axis {axis} must be at least {size}"
        checks.append(tf.debugging.assert_greater_equal(tf.shape(x)[axis], size, message=text))
    with tf.control_dependencies(checks):
        return tf.identity(x)
'''


class SourceFormat(Format):
    """Readable Python."""

    name = "source"

    def write(self, job: ExportJob, folder: Path) -> list[Path]:
        target = folder / self.name
        target.mkdir()
        text, arrays = written(job)
        (target / "model.py").write_text(text, encoding="utf-8")
        np.savez(target / "weights.npz", **arrays)
        return [target]

    def verify(self, job: ExportJob, folder: Path) -> tuple[Measure | None, str]:
        samples = [check.inputs for check in job.checks]
        results = run_in_subprocess("source", folder / self.name, samples)
        names = [name for name, _ in named_leaves(job.port.graph.outputs, "output")]
        named = [{name: each[str(i)] for i, name in enumerate(names)} for each in results]
        code = (folder / self.name / "model.py").read_text(encoding="utf-8")
        return job.compare(named), f"{len(code.splitlines())} lines of Python"


FORMAT = SourceFormat()


def written(job: ExportJob) -> tuple[str, dict[str, Any]]:
    """The text of `model.py`, and the arrays that it reads.

    Raises EmitError for a layer that cannot be written down.
    """
    plan, variables = job.port.plan, job.port.variables
    inputs = named_leaves(plan.graph.inputs, "input")
    specs = [signature(name, v, plan.inputs[v.id], variables.precision) for name, v in inputs]
    trace = record(plan, specs, variables)
    lines, functions = lines_of(trace.layers)
    typenames = {call.path: call.typename for call in plan.graph.calls}
    add_comments(lines, job, trace, typenames)
    names = ["x"] if len(inputs) == 1 else identifiers([name for name, _ in inputs])
    body = Body("model", lines, trace.inputs, list(trace.outputs.values()), ("w",))
    blocks = outline(body, typenames, {function.name for function in functions})
    for block in blocks:
        inside = dict(zip(block.body.inputs, letters(), strict=False))
        functions.append(block_function(block, inside))
    named = dict(zip(trace.inputs, names, strict=True))
    functions.append(function_of(body, named, returned(plan.graph.outputs, trace), MODEL))
    least = [stored_sizes(job.port, position, v) for position, (_, v) in enumerate(inputs)]
    return file_text(functions, names, specs, least), trace.arrays


def stored_sizes(port: Port, position: int, value: Value) -> dict[int, int]:
    """The least extents of an input by its axes as they are stored."""
    layout = port.plan.inputs[value.id]
    extents = port.least.get(position, {})
    return dict(sorted((layout.axis(axis), extent) for axis, extent in extents.items()))


def identifiers(names: list[str]) -> list[str]:
    """Python names for the inputs; a table's keys come from the file."""
    distinct: list[str] = []
    for name in names:
        distinct.append(numbered(re.sub(r"\W", "_", name), distinct))
    return distinct


def add_comments(
    lines: list[ModelLine], job: ExportJob, trace: RecordedPlan, typenames: dict[str, str]
) -> None:
    """Tell each line the shape of what it makes, as stored, and its class in Torch."""
    sizes = formulas(job.model, job.types, job.port.graph)
    for line in lines:
        shown: dict[str, None] = {}
        for target in line.targets:
            if target in trace.values:
                identity, layout = trace.values[target]
                extents = [sizes[identity][axis] for axis in layout.order]
                shown["×".join(extents) or "scalar"] = None
        line.shape = ", ".join(shown)
        if line.label[:1].isupper():
            # porter's own layer, which a container or a table module made.
            line.label = typenames.get(line.path, line.label)


def returned(outputs: Nested[Value], trace: RecordedPlan) -> Expression:
    """The model's outputs, nested as Torch's tables are."""
    if isinstance(outputs, list):
        return Items(tuple(returned(each, trace) for each in outputs))
    if isinstance(outputs, dict):
        return Dict(tuple((key, returned(outputs[key], trace)) for key in sorted(outputs)))
    return Ref(trace.outputs[outputs.id])


def file_text(
    functions: list[Function], inputs: list[str], specs: list[Any], least: list[dict[int, int]]
) -> str:
    """The whole file."""
    arguments = ", ".join(inputs)
    checked = ", ".join(
        f"at_least({name}, {sizes})" if sizes else name
        for name, sizes in zip(inputs, least, strict=True)
    )
    parts = [HEAD.format(call=f"y = network({arguments})").rstrip("\n")]
    parts += ["\n".join(function.lines()) for function in functions]
    listed = [f"tf.TensorSpec({spec.shape.as_list()}, tf.{spec.dtype.name})" for spec in specs]
    specification = f"    signature = [{', '.join(listed)}]\n"
    if len(specification) > WIDTH:
        specification = "".join(
            ["    signature = [\n", *(f"        {each},\n" for each in listed), "    ]\n"]
        )
    decorator = specification + "\n    @tf.function(input_signature=signature, autograph=False)"
    if any(least):
        parts.append(AT_LEAST.rstrip("\n"))
    load = LOAD.format(signature=decorator, inputs=arguments, checked=checked)
    parts.append(load.rstrip("\n"))
    return "\n\n\n".join(parts) + "\n"
