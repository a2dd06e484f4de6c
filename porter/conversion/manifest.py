"""`manifest.json`: where a port comes from and how it was proven."""

from __future__ import annotations

import platform
from typing import Any

from porter.conversion.request import Request
from porter.emit.formats import ExportJob, ExportResult
from porter.frontend.model_file import ModelFile
from porter.frontend.module_tree import functions_in, histogram
from porter.parity.compare import Report
from porter.report.as_json import emitted_json, warnings
from porter.version import version

MANIFEST_VERSION = 1


def manifest(
    opened: ModelFile,
    request: Request,
    job: ExportJob,
    emitted: list[ExportResult],
    solved: str,
    reports: list[Report],
    model_warnings: list[str],
) -> dict[str, Any]:
    """Everything a user needs to trust and to repeat a conversion; no timestamps."""
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
        "pictures": job.pictures.json() if job.pictures else None,
        "transposes": job.port.plan.transposes,
        "input_size": solved or "free or given",
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
            "porter": version(),
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
