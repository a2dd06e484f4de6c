"""`manifest.json`: where a port comes from and how it was proven."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import TYPE_CHECKING, Any

from porter.measure import Measure
from porter.model_file import ModelFile, functions_in, histogram
from porter.parity import Report

if TYPE_CHECKING:
    from porter.conversion import Request

MANIFEST_VERSION = 1


def version() -> str:
    """porter's own version."""
    try:
        return metadata.version("porter-t7")
    except metadata.PackageNotFoundError:
        return "unknown"


def manifest(
    opened: ModelFile,
    request: Request,
    *,
    formats: list[str],
    signature: dict[str, Any],
    layouts: str,
    transposes: int,
    solved: str,
    reports: list[Report],
    reloaded: list[Measure],
) -> dict[str, Any]:
    """Everything a user needs to trust and to repeat a conversion; no timestamps."""
    import numpy as np

    from porter.tensorflow import tf

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
        "formats": formats,
        "signature": signature,
        "data_format": layouts,
        "transposes": transposes,
        "input_size": solved or "free or given",
        "oracle": reports[0].oracle,
        "inputs": [report.input for report in reports],
        "options": {"bn": options.bn, "seed": options.seed},
        "tolerance": {
            "isolated": request.tolerance.isolated,
            "accumulated": request.tolerance.accumulated,
            "float64": request.tolerance.float64,
        },
        "reloaded_max_rel": max(measure.max_rel for measure in reloaded),
        "notes": notes,
        "versions": {
            "porter": version(),
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
