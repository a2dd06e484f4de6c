"""`model.tflite`: one file for LiteRT, which phones, browsers and microcontrollers run.

    float32    model.tflite            passes the same gate as every other format
    float16    model.float16.tflite    weights in half precision
    dynamic    model.dynamic.tflite    weights in 8 bits, numbers between layers in float
    int8       model.int8.tflite       all in 8 bits, inputs and outputs too, signed
    uint8      model.uint8.tflite      the same with inputs and outputs unsigned, as pictures are

Quantised files are judged on realistic inputs: the representative ones, or else Torch's recorded
one, or else all that were generated. Where 8 bits between the layers are too few, as for the
statistics of instance normalisation, the arithmetic outside convolutions, linear layers and
poolings stays in float; the note says so.

Sizes that are free in the port are free here (`interpreter.resize_tensor_input`, or a signature
runner, which does it by itself); `input_shapes=` fixes them. Only LiteRT's own operations are used:
a layer that needs others is named in the error. Every file is run by the interpreter that its users
have, ai-edge-litert, in a fresh process.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from porter.emit.formats import Emitter, ExportJob, ExportResult, size_of
from porter.emit.litert import LITERT, LITERT_INTEGER, at_least
from porter.emit.port import Port, build
from porter.emit.quality import BOUNDS, Quality, judge
from porter.emit.representative import admitted, halves, on_port, read
from porter.emit.settings import TFLiteSettings
from porter.emit.subprocess_runner import Named, run_tflite
from porter.emit.tracing.namespace import Namespace
from porter.errors import EmitError, ParityError, UsageError
from porter.ir.fields import Array
from porter.ir.graph import Graph, Node, rename
from porter.ir.nested import leaves
from porter.passes.borders import join_borders
from porter.passes.fold import fuse
from porter.passes.normalization import drop_cancelled_biases
from porter.runtime.runner import Variables, scope_of
from porter.system.extras import require
from porter.system.quiet import quiet_stderr
from porter.system.tensorflow import tf

KINDS = ("float32", "float16", "dynamic", "int8", "uint8")
INTEGER = ("int8", "uint8")
ARITHMETIC = (
    *("ADD", "SUB", "MUL", "DIV", "MEAN", "SUM"),
    *("SQUARE", "SQUARED_DIFFERENCE", "SQRT", "RSQRT"),
)
"""LiteRT's operations that normalisations consist of."""
INTERPRETER = "ai_edge_litert.interpreter"
"""The module that runs the files: TensorFlow has no interpreter of its own any more."""


class TFLite(Emitter):
    """LiteRT files, float or quantised."""

    name = "tflite"

    def settings(self, settings: Mapping[str, Any]) -> TFLiteSettings:
        chosen: TFLiteSettings = settings.get(self.name) or TFLiteSettings()
        return chosen

    def check(self, settings: Mapping[str, Any]) -> None:
        require("ai-edge-litert", "ai_edge_litert", "a .tflite file")
        chosen = self.settings(settings)
        unknown = [kind for kind in chosen.kinds if kind not in KINDS]
        if unknown:
            raise UsageError(
                f"there is no `tflite={unknown[0]}`", hint="kinds: " + ", ".join(KINDS)
            )
        wants = [kind for kind in chosen.kinds if kind in INTEGER]
        if wants and chosen.representative is None:
            raise UsageError(
                f"`tflite={wants[0]}` must be calibrated on representative inputs",
                hint="add `representative=` with a folder of pictures or an .npz of inputs",
            )
        if chosen.representative is not None and not chosen.representative.exists():
            raise UsageError(f"no such file or folder: {chosen.representative}")

    def emit(self, job: ExportJob, folder: Path) -> list[ExportResult]:
        chosen = self.settings(job.settings)
        ports = {dialect: traced(job, dialect) for dialect in map(dialect_of, chosen.kinds)}
        rows: list[ExportResult] = []
        for kind in chosen.kinds:
            port = ports[dialect_of(kind)]
            fitting = tuple(check for check in job.checks if admitted(port, check.inputs))
            rows.append(emit_kind(kind, replace(job, port=port, checks=fitting), folder, chosen))
        return rows


def dialect_of(kind: str) -> Namespace:
    """The stand-in for `tf` that a kind of file is traced with."""
    return LITERT_INTEGER if kind in INTEGER else LITERT


def traced(job: ExportJob, dialect: Namespace) -> Port:
    """The fused port in LiteRT's operations, for the sizes that the user fixed."""
    graph = join_borders(drop_cancelled_biases(fuse(job.port.graph)))
    least = job.port.least if job.fixed is None else {}
    options = job.options.plain()
    return build(
        sized(graph, job), Variables(), options, dialect=dialect, least=least, guard=at_least
    )


def sized(graph: Graph, job: ExportJob) -> Graph:
    """The graph for the one input size that the user gave; as it is where they gave none."""
    if job.fixed is None:
        return graph
    pairs = zip(leaves(graph.inputs), leaves(job.fixed), strict=True)
    fixed = {v.id: replace(v, type=t) for v, t in pairs if v.type.admits(t.static)}
    return rename(graph, fixed)


def emit_kind(kind: str, job: ExportJob, folder: Path, chosen: TFLiteSettings) -> ExportResult:
    """One file, run again and judged. Raises EmitError and ParityError."""
    path = folder / ("model.tflite" if kind == "float32" else f"model.{kind}.tflite")
    if kind == "float32":
        path.write_bytes(converted(job, kind))
        outputs = run_tflite(path, [check.inputs for check in job.checks], INTERPRETER)
        return ExportResult("tflite", job.compare(outputs), size_of(path), "", path.name)
    if kind in INTEGER:
        quality, how = emit_integers(path, kind, job, chosen)
    else:
        path.write_bytes(converted(job, kind))
        quality, how = judge_floats(path, job, chosen), ""
    require_quality(quality, kind, least_psnr(kind, chosen))
    note = ", ".join(filter(None, (str(quality), how)))
    return ExportResult(
        "tflite", quality.measure, size_of(path), note, path.name, False, quality.json()
    )


def judge_floats(path: Path, job: ExportJob, chosen: TFLiteSettings) -> Quality:
    """The quality of a file whose inputs and outputs are floats."""
    if chosen.representative is not None:
        samples = read(chosen.representative, job)
        outputs = run_tflite(path, samples, INTERPRETER)
        return judge(by_output(on_port(job.port, samples), outputs))
    judged = tuple(check for check in job.checks if check.recorded) or job.checks
    outputs = run_tflite(path, [check.inputs for check in judged], INTERPRETER)
    return judge([pair] for pair in replace(job, checks=judged).pairs(outputs))


def emit_integers(
    path: Path, kind: str, job: ExportJob, chosen: TFLiteSettings
) -> tuple[Quality, str]:
    """The file all in integers, or else with arithmetic in float; its quality, and a note."""
    assert chosen.representative is not None
    for_ranges, for_judging = halves(read(chosen.representative, job))
    expected = on_port(job.port, for_judging)
    for kept in ((), ARITHMETIC):
        path.write_bytes(converted(job, kind, for_ranges, kept))
        quality = judge(by_output(expected, run_tflite(path, for_judging, INTERPRETER)))
        if quality.psnr >= least_psnr(kind, chosen):
            break
    return quality, "arithmetic between layers in float" if kept else ""


def by_output(expected: list[Named], outputs: list[Named]) -> Iterator[list[tuple[Array, Array]]]:
    """Expected and actual values of each output, over all samples."""
    for name in expected[0]:
        yield [(one[name], other[name]) for one, other in zip(expected, outputs, strict=True)]


def least_psnr(kind: str, chosen: TFLiteSettings) -> float:
    """The bound of a kind of file, or the user's own."""
    return BOUNDS[kind] if chosen.psnr is None else chosen.psnr


def require_quality(quality: Quality, kind: str, bound: float) -> None:
    """Raise ParityError for a file that quantisation made useless."""
    if quality.psnr < bound:
        raise ParityError(
            f"the {kind} LiteRT file is too far from the float outputs: nothing was written",
            received=quality.measure.problem or f"{quality}, where {bound:g} dB are asked for",
            hint="name what the net really sees with `representative=`, ask for less with "
            "`quantised_psnr=`, or leave it out of `tflite=`",
        )


def converted(
    job: ExportJob, kind: str, samples: Sequence[Named] = (), kept: Sequence[str] = ()
) -> bytes:
    """The bytes of a LiteRT file. Raises EmitError, naming the layers that LiteRT cannot do.

    `samples` calibrate integers; LiteRT's operations in `kept` stay in float.
    """
    # The error's class has no public name.
    from tensorflow.lite.python.convert_phase import ConverterError

    converter = tf.lite.TFLiteConverter.from_concrete_functions([job.port.serve], job.port.module)
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind in INTEGER:
        converter.representative_dataset = lambda: iter(samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(kind)
    with warnings.catch_warnings(), quiet_stderr():
        warnings.simplefilter("ignore")
        try:
            content = mixed(converter, samples, kept, kind) if kept else converter.convert()
        except ConverterError as error:
            problem = error
        else:
            return bytes(content)
    raise refused(problem, job.port.graph)


def mixed(converter: Any, samples: Sequence[Named], kept: Sequence[str], kind: str) -> Any:
    """A quantised file in which some operations stay in float.

    So do inputs that go into such an operation, and outputs that come from one.
    """
    from tensorflow.lite.python.util import modify_model_io_type

    # The converter itself has no such option; its debugger does.
    lite = tf.lite.experimental
    debugger = lite.QuantizationDebugger(
        converter=converter,
        debug_dataset=lambda: iter(samples),
        debug_options=lite.QuantizationDebugOptions(denylisted_ops=list(kept)),
    )
    content = debugger.get_nondebug_quantized_model()
    for end in ("inference_input_type", "inference_output_type"):
        with contextlib.suppress(ValueError):
            content = modify_model_io_type(content, **{end: tf.as_dtype(kind)})
    return content


def refused(error: Any, graph: Graph) -> EmitError:
    """The error for operations that LiteRT lacks, by the Torch paths in their names."""
    layers = {scope_of(node.path): node for node in reversed(graph.nodes)}
    places: dict[str, Node] = {}
    operations: set[str] = set()
    for each in error.errors:
        operations.add(each.operator.name.rpartition(".")[2])
        for call in each.location.call:
            scope = call.name.partition("/")[0]
            node = layers.get(scope) or layers.get(re.sub(r"_\d+$", "", scope))
            if node is not None:
                places[node.path] = node
    first = str(error).strip().splitlines()[:1]
    return EmitError(
        "LiteRT has no operations for this model",
        where=", ".join(f"{n.path or 'the root'} ({n.typename})" for n in places.values()) or None,
        received=", ".join(sorted(operations)) or "".join(first),
        hint="leave `tflite` out of `formats=`",
    )


FORMAT = TFLite()
