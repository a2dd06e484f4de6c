"""From `model.t7` to a folder with the same network in TensorFlow, and the proof that it is.

    read → choose the module → walk → verify layer by layer → emit → reload → compare again → appear

Nothing appears under the output's name unless every comparison passed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from porter.conversion import summary
from porter.conversion.free_axes import (
    chosen_axes,
    free_axes,
    frozen_warning,
    regrouped_warning,
    size_text,
    stacked_warning,
    table_warning,
)
from porter.conversion.large_input import larger_check
from porter.conversion.manifest import Manifest, manifest
from porter.conversion.model_warnings import alone_warning, model_warnings
from porter.conversion.photograph import in_colours, photograph
from porter.conversion.request import Request
from porter.conversion.time_axes import time_axes
from porter.conversion.verification_inputs import (
    admits,
    checks,
    emitted_types,
    input_shapes,
    verification_inputs,
)
from porter.emit.formats import ExportJob, ExportResult, find, require_trainable
from porter.errors import ParityError, UsageError
from porter.frontend.inputs import Sample, Shapes, types_of
from porter.frontend.model_file import default_output, open_model
from porter.frontend.run_mode import decide, recorded_otherwise
from porter.frontend.walker import Model
from porter.imaging.image_spec import geometry_of, image_spec_of
from porter.ir.nested import leaves
from porter.ir.registry import DEFAULT_REGISTRY, Registry
from porter.layer_maps import default_registry
from porter.parity import compare as parity
from porter.parity import saved_outputs
from porter.parity.compare import Report, Row
from porter.parity.oracle import OTHER_SHAPE, RECORDED
from porter.parity.recorded_model import RECORD, recorded_here
from porter.parity.recording import Recording
from porter.parity.rounding import MAX_ROUNDING
from porter.passes import LEVELS
from porter.passes.precision import FULL, PRECISIONS
from porter.report.as_json import report_json, worst_rows
from porter.report.pages import SUFFIXES, render, require_kinds
from porter.report.pages.document import Document, facts_of, facts_of_failure
from porter.runtime import memory
from porter.system.atomic import atomic_directory, require_free, write_text
from porter.system.checksums import MANIFEST, digests
from porter.system.threads import one_thread

if TYPE_CHECKING:
    from porter.report.tensorboard import Logbook

DEEP_ELEMENTS = 400_000
"""Inputs whose largest activation has more elements skip the float64 and noise-floor runs.

So do weights for which there is no memory in float64. Reports say on which inputs they ran."""

Progress = Callable[[str, str], None]


def silent(stage: str, detail: str) -> None:
    """No progress display."""


@dataclass(frozen=True)
class Conversion:
    """What a conversion did."""

    output: Path
    """The folder that was written."""
    reports: tuple[Report, ...]
    """Every layer's errors, a report for each input that the model was verified on."""
    emitted: tuple[ExportResult, ...]
    """How each file did after it was loaded again, in the order of the formats."""
    manifest: Manifest
    """What `manifest.json` holds: source, signature, versions, checksums."""

    def summary(self) -> str:
        """Verdict, worst layer, first warnings, files, sizes and the next command: one screen."""
        return summary.summary(self)

    def json(self) -> dict[str, object]:
        """`diff`'s report with the output folder, formats, transposes and signature."""
        return report_json(self.reports, self.emitted) | {
            "output": str(self.output),
            "formats": self.manifest["formats"],
            "transposes": self.manifest["transposes"],
            "signature": self.manifest["signature"],
        }


def convert(request: Request, progress: Progress = silent) -> Conversion:
    """Convert a model. Raises PorterError; then no output exists."""
    started = time.perf_counter()
    require_kinds(request.pages)
    target = request.output or default_output(request.source, request.select)
    require_free(Path(os.path.abspath(target)), request.force)
    progress("read", str(request.source))
    opened = open_model(request.source, request.registry or default_registry(), request.select)
    mode = decide(
        opened.root,
        request.options,
        None if request.reference is None else request.reference.mode,
        request.preset,
    )
    request = replace(request, options=mode.options)
    model = opened.model(request.options)
    for name in request.formats:
        find(name).check(request.settings)
    if request.export.trainable:
        require_trainable(request.formats)
    require_served(request)
    with one_thread(), atomic_directory(target, request.force) as folder, logged(request) as book:
        with recorded_here(request.reference, opened.root, opened.registry):
            shapes = input_shapes(model, request)
            image_spec = image_spec_of(opened, model, shapes, request.preset)
            geometry = image_spec.geometry if image_spec else geometry_of(model, shapes)
            checked = verification_inputs(model, shapes, request)
            if request.pages and image_spec is not None and not image_spec.classifies:
                checked.append((photograph(image_spec), None))
            from porter.runtime.runner import Variables

            variables = {p: Variables(p, request.export.trainable) for p in ("float32", "float64")}
            checked, reports = verify_all(model, checked, request, variables, progress, book)
        if image_spec is not None:
            reports = [in_colours(report, image_spec) for report in reports]
        job = prepare(model, shapes, checked, reports, request, variables["float32"])
        if book is not None:
            book.graph(job.port.serve)
        if image_spec is not None:
            (fed,) = leaves(job.port.graph.inputs)
            job = replace(job, image_spec=image_spec.for_size(fed.type.shape[2:]))
        emitted = [
            row
            for name in request.formats
            for row in emit_one(name, job, request, folder, progress)
        ]
        graph = job.port.graph
        found = not request.input_shapes and request.reference is None
        chosen = [] if shapes.solved else chosen_axes(model, emitted_types(model, shapes), graph)
        described = manifest(
            opened,
            request,
            job,
            emitted,
            shapes.solved or size_text(chosen, geometry),
            geometry,
            reports,
            [
                *model_warnings(opened, mode, model),
                *filter(
                    None,
                    [
                        "" if shapes.solved else frozen_warning(graph, chosen),
                        regrouped_warning(model, shapes.types[0], graph) if found else "",
                        stacked_warning(graph),
                        table_warning(model, emitted_types(model, shapes)),
                        alone_warning(model, shapes),
                        image_spec.warning if image_spec else "",
                    ],
                ),
            ],
        )
        write_json(folder / "parity.json", report_json(reports, emitted))
        described["files"] = digests(folder)
        write_json(folder / MANIFEST, described)
        facts = facts_of(described, time.perf_counter() - started)
        document = Document(title(request.source), tuple(reports), tuple(emitted), facts)
        for kind in request.pages:
            write_text(folder / f"report{SUFFIXES[kind]}", render(document, kind))
    return Conversion(target, tuple(reports), tuple(emitted), described)


def require_served(request: Request) -> None:
    """Raise UsageError where what is served cannot be what it is asked to be."""
    if request.export.optimized not in LEVELS:
        raise UsageError(
            f"there is no level '{request.export.optimized}'", hint="one of " + ", ".join(LEVELS)
        )
    if request.export.precision == FULL:
        return
    if request.export.precision not in PRECISIONS:
        raise UsageError(
            f"there is no precision '{request.export.precision}'",
            hint="one of " + ", ".join(PRECISIONS),
        )
    asked = f"`precision={request.export.precision}`"
    if request.export.trainable:
        raise UsageError(
            f"{asked} does not go with `trainable=True`",
            hint="what is trained on is served as it is",
        )
    if request.export.optimized == "fast":
        raise UsageError(
            f"{asked} does not go with `optimize=fast`",
            hint="Winograd's algorithm would lose most of the digits, and is slower there",
        )
    if "saved_model" not in request.formats:
        raise UsageError(
            f"{asked} is for the format saved_model",
            received=f"`formats={','.join(request.formats)}`",
            hint="the other formats hold float32; `tflite=float16` halves a LiteRT file",
        )


def verify_all(
    model: Model,
    checked: list[tuple[Sample, Recording | None]],
    request: Request,
    variables: dict[str, Any],
    progress: Progress,
    book: Logbook | None = None,
) -> tuple[list[tuple[Sample, Recording | None]], list[Report]]:
    """Compare every layer on every input; returns the inputs, each with its report in order.

    An input of large numbers on which the reference itself overflows proves nothing: smaller ones
    take its place. Raises ParityError with the reports.
    """
    used: list[tuple[Sample, Recording | None]] = []
    reports: list[Report] = []
    for sample, recording in checked:
        report = verify_one(model, sample, recording, request, variables, progress, book)
        while report.overflow is not None and sample.scale > 1:
            sample = sample.milder(report.overflow)
            report = verify_one(model, sample, recording, request, variables, progress, book)
        used.append((sample, recording))
        reports.append(report)
        if book is not None:
            book.add(report)
    left = saved_outputs.verify(model, variables["float32"], request.tolerance)
    if left is not None:
        reports.append(left)
    if not all(report.passed for report in reports):
        pages = write_failed(reports, request)
        raise parity_failure(reports, request.registry, pages, mode_advice(model, request))
    return used, reports


def verify_one(
    model: Model,
    sample: Sample,
    recording: Recording | None,
    request: Request,
    variables: dict[str, Any],
    progress: Progress,
    book: Logbook | None,
) -> Report:
    """Compare every layer on one input."""
    graph = model.walk(types_of(sample.arrays))
    largest = max((int(np.prod(value.shape)) for value in graph.values()), default=0)
    classes = {call.path: call.typename for call in graph.calls}
    return parity.verify(
        model,
        sample.arrays,
        variables,
        recording,
        label=sample.label,
        tolerance=request.tolerance,
        deep=largest <= DEEP_ELEMENTS and memory.holds_in_float64(graph),
        data_format=request.export.data_format,
        progress=lambda path: progress("verify", f"{path} {classes.get(path, '')}".strip()),
        watch=book.watch() if book else lambda node, expected, computed: None,
    )


def logged(request: Request) -> AbstractContextManager[Logbook | None]:
    """Event files for TensorBoard where they are asked for."""
    if request.tensorboard is None:
        return nullcontext()
    from porter.report.tensorboard import logbook

    return logbook(request.tensorboard, request.force)


def title(source: Path) -> str:
    """What a report is called: most models are called model.t7, so with the folder's name."""
    return "/".join(source.resolve().parts[-2:])


def write_failed(reports: list[Report], request: Request) -> list[Path]:
    """The reports of a conversion that failed: beside the output folder, which does not appear."""
    target = request.output or default_output(request.source, request.select)
    asked = {
        "model": str(request.source),
        "batch normalisation": request.options.bn,
        "seed": str(request.options.seed),
    }
    facts = facts_of_failure(reports, asked)
    document = Document(title(request.source), tuple(reports), (), facts)
    written: list[Path] = []
    for kind in request.pages:
        written.append(target.with_name(f"{target.name}.failed{SUFFIXES[kind]}"))
        write_text(written[-1], render(document, kind))
    return written


def parity_failure(
    reports: list[Report],
    registry: Registry | None,
    pages: Sequence[Path] = (),
    mode: str = "",
) -> ParityError:
    """The error of a port that does not compute what the oracle says: the row that tables show."""
    row = next(row for row in worst_rows(reports) if not row.passed)
    failed = next(report for report in reports if any(each is row for each in report.rows))
    error = ParityError(
        f"the port differs from {row.oracle}: nothing was written",
        where=f"{row.path or 'the root'} ({row.type}), on input {failed.input}",
        received=row.summary(),
        hint=advice(row, whose_mistake(row, registry), pages, mode),
    )
    error.reports = tuple(reports)
    return error


def mode_advice(model: Model, request: Request) -> str:
    """What to do where a recording was made in another mode than the model is converted in."""
    recorded = None if request.reference is None else request.reference.mode
    return recorded_otherwise(model.root, request.options, recorded)


def whose_mistake(row: Row, registry: Registry | None) -> str:
    """Who can mend the first layer that differs."""
    registry = registry or DEFAULT_REGISTRY
    if row.type in registry.aliases:
        return (
            f"{row.type} was treated as {registry.aliases[row.type]}, and computes something else"
        )
    if registry.handlers.get(row.type) is DEFAULT_REGISTRY.handlers.get(row.type):
        return "if the layer map is wrong, that is a bug of porter"
    wrong = "`apply` of your layer map" if row.oracle != RECORDED else "your layer map"
    return f"{wrong} of {row.type} does not compute what {row.oracle} does"


def advice(row: Row, mistake: str, pages: Sequence[Path], mode: str = "") -> str:
    """Where to look next; `mode` where that explains the failure by itself."""
    if mode:
        return "\n".join([mode, *(f"report: {path}" for path in pages)])
    lines = [f"hint: {row.hint.text()}"] if row.hint else []
    failed = {name: error for name, error, limit in row.errors if error > limit}
    only_the_chain = failed.keys() == {"accumulated"} and failed["accumulated"] <= MAX_ROUNDING
    if row.oracle == RECORDED and only_the_chain:
        lines.append(
            "the net may amplify what Torch rounded in float32: a recording in double precision "
            "(option -double of record.lua) tells that from a mistake"
        )
    if OTHER_SHAPE in (row.problem or ""):
        lines.append(f"a recording of another model of the same classes looks like this: {RECORD}")
    lines += [f"report: {path}" for path in pages]
    more = "" if pages else "run with `report=html`, or `porter convert --json`, for every layer; "
    return "\n".join([*lines, f"{more}{mistake}"])


def prepare(
    model: Model,
    shapes: Shapes,
    checked: list[tuple[Sample, Recording | None]],
    reports: list[Report],
    request: Request,
    variables: Any,
) -> ExportJob:
    """Trace the port, with as many free sizes as the layers allow."""
    from porter.emit.port import build_widest

    types = emitted_types(model, shapes)
    port = build_widest(model, types, variables, request.export)
    named = request.input_shapes or request.reference is not None
    if named and not admits(port.graph, shapes.types[0]):
        types = shapes.types[0]
        port = build_widest(model, types, variables, request.export)
    fixed = shapes.types[0] if request.input_shapes else None
    larger = None
    if request.export.precision == FULL and "saved_model" in request.formats:
        larger = larger_check(
            model, types, port, request.export.level, request.tolerance.accumulated
        )
    return ExportJob(
        model,
        types,
        port,
        checks(port, checked, reports),
        dict(request.settings),
        fixed,
        larger,
        free=free_axes(port.graph, time_axes(model, types)),
    )


def emit_one(
    name: str, job: ExportJob, request: Request, folder: Path, progress: Progress
) -> list[ExportResult]:
    """Write one format and compare its reloaded self. Raises ParityError."""
    progress("emit", name)
    emitted = find(name).emit(job, folder)
    allowed = max(check.allowed for check in job.checks)
    for row in emitted:
        measure = row.measure
        if row.exact and measure is not None and not measure.within(allowed):
            shown = f"{name} {row.variant}".strip()
            raise ParityError(
                f"the {shown} computes something else after it was loaded again: "
                "nothing was written",
                received=measure.problem or f"error {measure.max_rel:.2e} of the output's scale",
                hint="the layers as they were compared are written with `optimize=none`"
                if request.export.optimized != "none"
                else None,
            )
    return emitted


def write_json(path: Path, content: Any) -> None:
    """A JSON file with sorted keys, the same bytes for the same content."""
    # Bytes of the file's strings that are no UTF-8 become JSON escapes.
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(content, file, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
