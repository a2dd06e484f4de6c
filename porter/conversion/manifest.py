"""`manifest.json`: where a port comes from and how it was proven."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, TypedDict, cast

from porter.conversion.request import Request
from porter.emit.formats import ExportJob, ExportResult
from porter.frontend.model_file import ModelFile
from porter.frontend.module_tree import functions_in, histogram
from porter.imaging.geometry import Geometry
from porter.parity.compare import Report
from porter.report.as_json import emitted_json, warnings
from porter.version import VERSION

if TYPE_CHECKING:
    from porter.emit.port import TensorSignature

MANIFEST_VERSION = 1


class SourceFile(TypedDict):
    """The `.t7` that was converted."""

    name: str
    sha256: str
    bytes: int
    format: str
    """"binary" or "ascii"."""
    selected: str
    """Key of the module in a checkpoint's table; empty if the module is the file's root."""


class PresetEntry(TypedDict, total=False):
    """A preset as its TOML file spells it (`imaging/presets.py`)."""

    name: str
    input: dict[str, object]
    """How 8-bit pixels become the net's numbers."""
    output: dict[str, object]
    """The same for its output; absent from classifiers."""
    median_filter: int
    """Odd window size of a median filter on the output image; 0 for none."""
    border: str
    labels: list[str]


class ImageEntry(TypedDict):
    """What the numbers of a net of images mean (`imaging/image_spec.py`)."""

    preset: PresetEntry
    geometry: dict[str, object]
    """Which sizes the net takes, and what size it makes of them."""
    why: str
    """How the preset was found."""
    softmax: bool


class Manifest(TypedDict):
    """`manifest.json`; no timestamps."""

    manifest: int
    """Version of this format."""
    source: SourceFile
    classes: dict[str, int]
    """Number of modules by Torch class."""
    lua_functions: list[str]
    """Paths of functions in the file, which are never executed."""
    formats: list[str]
    signature: dict[str, TensorSignature]
    """Inputs and outputs by name: `input`, `output`; `input_1`, `input_2` … of a table."""
    data_format: str
    precision: str
    optimized: str
    trainable: list[str] | None
    """Names of the trainable variables; None unless the port is trainable."""
    pictures: ImageEntry | None
    """None for a net whose input is no image."""
    geometry: dict[str, object] | None
    """Which sizes a net of pictures takes, and what size it makes of them, also without a preset;
    None for others."""
    looks_like: list[str]
    """What is known of the published systems that the net looks like, a line each."""
    transposes: int
    """How many the layers need; each costs a pass over its tensor."""
    input_size: str
    free: dict[str, list[str]]
    oracle: str
    inputs: list[str]
    options: dict[str, str | int]
    tolerance: dict[str, float]
    """Largest accepted errors, in units of each layer's scale."""
    emitted: list[dict[str, object]]
    """How each format did after it was loaded again."""
    layers: dict[str, str]
    """Torch class of each layer by path."""
    notes: dict[str, str]
    warnings: list[str]
    versions: dict[str, str]
    files: dict[str, str]
    """SHA-256 of every written file by its path in the folder."""


def manifest(
    opened: ModelFile,
    request: Request,
    job: ExportJob,
    emitted: list[ExportResult],
    solved: str,
    geometry: Geometry | None,
    reports: list[Report],
    model_warnings: list[str],
) -> Manifest:
    """Everything a user needs to trust and to repeat a conversion; `files` is still empty."""
    import numpy as np

    from porter.emit.port import stored_shapes
    from porter.system.tensorflow import tf

    options = request.options
    notes = {
        row.path or "the root": row.note for report in reports for row in report.rows if row.note
    }
    return {
        "manifest": MANIFEST_VERSION,
        "source": {
            "name": request.source.name,
            "sha256": opened.file.sha256(),
            "bytes": opened.file.size,
            "format": opened.file.format,
            "selected": opened.selected,
        },
        "classes": dict(sorted(histogram(opened.root).items())),
        "lua_functions": [path for path, _ in functions_in(opened.root)],
        "formats": list(dict.fromkeys(each.name for each in emitted)),
        "signature": stored_shapes(job.port.graph, job.options.data_format),
        "data_format": job.options.data_format,
        "precision": request.export.precision,
        "optimized": request.export.level,
        "trainable": [
            variable.name.removesuffix(":0") for variable in job.port.module.trainable_variables
        ]
        if request.export.trainable
        else None,
        "pictures": cast("ImageEntry", job.image_spec.json()) if job.image_spec else None,
        "geometry": asdict(geometry) if geometry else None,
        "looks_like": request.likenesses(opened),
        "transposes": job.port.plan.transposes,
        "input_size": solved,
        "free": job.free,
        "oracle": reports[0].oracle,
        "inputs": [report.input for report in reports],
        "options": {"bn": options.bn, "seed": options.seed},
        "tolerance": {
            "isolated": request.tolerance.isolated,
            "accumulated": request.tolerance.accumulated,
            "float64": request.tolerance.float64,
        },
        "emitted": [emitted_json(each) for each in emitted],
        "layers": {row.path: row.type for report in reports for row in report.rows},
        "notes": notes,
        "warnings": [*model_warnings, *warnings(reports)],
        "versions": {
            "porter": VERSION,
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "files": {},
    }
