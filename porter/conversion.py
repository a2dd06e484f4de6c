"""From `model.t7` to a folder with the same network in TensorFlow, and the proof that it is.

    read → choose the module → walk → verify layer by layer → emit → reload → compare again → appear

Nothing appears under the output's name unless every comparison passed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from porter import leftovers, parity
from porter.errors import ParityError, UsageError
from porter.fields import Array
from porter.graph import Graph, TensorType
from porter.inputs import (
    Sample,
    Shapes,
    accepts,
    given,
    hint_of,
    samples,
    solve,
    types_of,
    with_batch,
)
from porter.layout import Plan, image_layout, to_torch
from porter.manifest import manifest
from porter.measure import Measure, compare
from porter.model_file import ModelFile, default_output, open_model
from porter.nested import Nested, leaves, map_leaves, named_leaves
from porter.options import Options
from porter.output import appearing
from porter.parity import Report, Tolerance
from porter.recording import Recording
from porter.registry import Registry
from porter.report import report_json
from porter.walker import Model

if TYPE_CHECKING:
    from porter.emit.port import Port

DEEP_ELEMENTS = 400_000
"""Inputs whose largest activation has more elements skip the float64 and noise-floor runs."""

Progress = Callable[[str, str], None]


def silent(stage: str, detail: str) -> None:
    """No progress display."""


@dataclass(frozen=True)
class Request:
    """What the user asks of a conversion."""

    source: Path
    output: Path | None = None
    input_shapes: tuple[tuple[int, ...], ...] = ()
    reference: Recording | None = None
    select: str | None = None
    registry: Registry | None = None
    options: Options = field(default_factory=Options)
    tolerance: Tolerance = field(default_factory=Tolerance)
    data_format: str = "channels_last"
    force: bool = False


@dataclass(frozen=True)
class Conversion:
    """What a conversion did. `reloaded` compares the emitted model's outputs after reload."""

    output: Path
    reports: tuple[Report, ...]
    reloaded: tuple[Measure, ...]
    manifest: dict[str, Any]

    def summary(self) -> str:
        """The verdict in a few lines."""
        signature = "; ".join(
            f"{name} {'×'.join('?' if size is None else str(size) for size in each['shape'])}"
            for name, each in self.manifest["signature"].items()
        )
        worst = Measure.worst(list(self.reloaded))
        return (
            f"parity: pass on {len(self.reports)} inputs; oracle: {self.manifest['oracle']}; "
            f"after reload in a fresh process {worst.max_rel:.1e} of the output's scale\n"
            f"input size: {self.manifest['input_size']}\n"
            f"signature: {signature}; {self.manifest['transposes']} transposes in the graph\n"
            f"written: {self.output} ({', '.join(self.manifest['formats'])})"
        )

    def json(self) -> dict[str, Any]:
        """`diff`'s report with the output folder, formats, transposes and signature."""
        return report_json(self.reports) | {
            "output": str(self.output),
            "formats": self.manifest["formats"],
            "transposes": self.manifest["transposes"],
            "signature": self.manifest["signature"],
        }


def convert(request: Request, progress: Progress = silent) -> Conversion:
    """Convert a model. Raises PorterError; then no output exists."""
    progress("read", str(request.source))
    opened = open_model(request.source, request.select)
    model = opened.model(request.registry, request.options)
    target = request.output or default_output(request.source)
    with appearing(target, request.force) as folder:
        shapes = input_shapes(model, request)
        checked = verification_inputs(model, shapes, request)
        from porter.runner import Variables

        variables = {p: Variables(p) for p in ("float32", "float64")}
        reports = verify_all(model, checked, request, variables, progress)
        progress("emit", str(target))
        written = emit(model, shapes, request, variables["float32"], folder)
        progress("reload", "in a fresh process")
        reloaded = verify_reloaded(folder, written, checked, reports, request)
        described = describe(opened, request, shapes, written, reports, reloaded)
        write_json(folder / "manifest.json", described)
        write_json(folder / "parity.json", report_json(reports))
    return Conversion(target, tuple(reports), tuple(reloaded), described)


def input_shapes(model: Model, request: Request) -> Shapes:
    """Input types: the user's, the recording's, or solved from the model."""
    if request.input_shapes:
        return given(model, list(request.input_shapes))
    if request.reference is not None and request.reference.input is not None:
        types = types_of(request.reference.input)
        model.walk(types)
        return Shapes((batched_type(model, types),))
    return solve(model)


def verification_inputs(
    model: Model, shapes: Shapes, request: Request
) -> list[tuple[Sample, Recording | None]]:
    """Seeded inputs, and first what Torch recorded, if there is a recording."""
    seeded: list[tuple[Sample, Recording | None]] = [
        (sample, None) for sample in samples(model, shapes, request.options.seed)
    ]
    recording = request.reference
    if recording is None:
        return seeded
    if recording.input is None:
        raise UsageError(
            f"{recording.source} has no `input`: it cannot be compared",
            hint="record with the script that `porter record` prints",
        )
    shown = ", ".join(str(type) for type in leaves(types_of(recording.input)))
    return [(Sample(f"recorded {shown}", recording.input), recording), *seeded]


def verify_all(
    model: Model,
    checked: list[tuple[Sample, Recording | None]],
    request: Request,
    variables: dict[str, Any],
    progress: Progress,
) -> list[Report]:
    """Compare every layer on every input. Raises ParityError with the reports."""
    reports: list[Report] = []
    for sample, recording in checked:
        largest = max(
            (int(np.prod(value.shape)) for value in model.walk(types_of(sample.arrays)).values()),
            default=0,
        )
        reports.append(
            parity.verify(
                model,
                sample.arrays,
                variables,
                recording,
                label=sample.label,
                tolerance=request.tolerance,
                deep=largest <= DEEP_ELEMENTS,
                data_format=request.data_format,
                progress=lambda path: progress("verify", path),
            )
        )
    left = leftovers.verify(model, variables["float32"], request.tolerance)
    if left is not None:
        reports.append(left)
    failed = [report for report in reports if not report.passed]
    if failed:
        raise parity_failure(reports, failed[0])
    return reports


def parity_failure(reports: list[Report], failed: Report) -> ParityError:
    """The error of a port that does not compute what the oracle says."""
    row = failed.first_diverging
    assert row is not None
    error = ParityError(
        f"the port differs from {row.oracle}: nothing was written",
        where=f"{row.path or 'the root'} ({row.type}), on input {failed.input}",
        received=row.summary(),
        hint="run with --json for every layer; if the layer map is wrong, that is a bug of porter",
    )
    error.reports = tuple(reports)
    return error


def emit(model: Model, shapes: Shapes, request: Request, variables: Any, folder: Path) -> Port:
    """Write the SavedModel and the checkpoint, with as many free sizes as the layers allow."""
    from porter.emit import checkpoint, saved_model
    from porter.emit.port import build_widest

    port = build_widest(model, batched(model, shapes), variables, request.data_format)
    saved_model.write(port, folder / "saved_model")
    checkpoint.write(port, folder / "checkpoint")
    differs = checkpoint.differing(port, folder / "checkpoint")
    if differs is not None:
        raise ParityError(f"the checkpoint does not hold what was written as {differs}")
    return port


def batched_type(model: Model, types: Nested[TensorType]) -> Nested[TensorType]:
    """With a batch in front, where Torch was fed one image without and the model takes both."""
    hint = hint_of(model)
    if isinstance(types, TensorType) and hint is not None and hint.rank == types.rank + 1:
        fuller = replace(types, shape=(1, *types.shape))
        return fuller if accepts(model, fuller) else types
    return types


def batched(model: Model, shapes: Shapes) -> Nested[TensorType]:
    """The types to emit for: with a batch of two, so that no module drops a batch of one."""
    types = map_leaves(lambda type: with_batch(type, 2), shapes.types[0])
    return types if accepts(model, types) else shapes.types[0]


def verify_reloaded(
    folder: Path,
    port: Port,
    checked: list[tuple[Sample, Recording | None]],
    reports: list[Report],
    request: Request,
) -> list[Measure]:
    """Compare what the model computes after being loaded from disk by another process.

    Samples whose sizes the emitted signature does not take (another batch where it is fixed) are
    left out; at least one must remain. Raises ParityError.
    """
    from porter.emit.fresh import run_saved_model

    graph = port.graph
    pairs = [
        (sample, report)
        for (sample, _), report in zip(checked, reports, strict=False)
        if fits(graph, sample)
    ]
    if not pairs:
        raise ParityError("no verification input fits the emitted signature")
    made = run_saved_model(
        folder / "saved_model", [store_named(port.plan, sample) for sample, _ in pairs]
    )
    measures: list[Measure] = []
    for (_, report), outputs in zip(pairs, made, strict=True):
        for (name, value), wanted in zip(
            named_leaves(graph.outputs, "output"), report.wanted, strict=True
        ):
            layout = image_layout(value.type.rank, request.data_format)
            got = to_torch(outputs[name], layout)
            # Torch's View drops a batch of one; the port keeps it, and the values are the same.
            kept = got.shape == (1, *wanted.shape)
            measures.append(compare(wanted, got[0] if kept else got))
    worst = Measure.worst(measures)
    if not worst.within(request.tolerance.accumulated):
        raise ParityError(
            "the model computes something else after it was saved and loaded: nothing was written",
            received=worst.problem or f"error {worst.max_rel:.2e} of the output's scale",
        )
    return measures


def fits(graph: Graph, sample: Sample) -> bool:
    """Whether a sample can be fed to the emitted signature, a batch of one added if need be."""
    return all(
        value.type.rank - array.ndim in (0, 1)
        and all(
            size is None or size == extent
            for size, extent in zip(value.type.shape[::-1], array.shape[::-1], strict=False)
        )
        for value, array in zip(leaves(graph.inputs), leaves(sample.arrays), strict=True)
    )


def store_named(layout: Plan, sample: Sample) -> dict[str, Array]:
    """A sample as the signature's named inputs, in stored order."""
    from porter.runner import store

    stored: dict[str, Array] = {}
    named = named_leaves(layout.graph.inputs, "input")
    for (name, value), array in zip(named, leaves(sample.arrays), strict=True):
        full = array if array.ndim == value.type.rank else array[None]
        stored[name] = np.asarray(store(full, value, layout.inputs[value.id], "float32"))
    return stored


def describe(
    opened: ModelFile,
    request: Request,
    shapes: Shapes,
    port: Port,
    reports: list[Report],
    reloaded: list[Measure],
) -> dict[str, Any]:
    """The manifest of this conversion."""
    from porter.emit.port import stored_shapes

    return manifest(
        opened,
        request,
        formats=["saved_model", "checkpoint"],
        signature=stored_shapes(port.graph, request.data_format),
        layouts=request.data_format,
        transposes=port.plan.transposes,
        solved=shapes.solved,
        reports=reports,
        reloaded=reloaded,
    )


def write_json(path: Path, content: Any) -> None:
    """A JSON file with sorted keys, the same bytes for the same content."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
