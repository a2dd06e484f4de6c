"""`weights.npz`, `weights.safetensors`, `weights.h5`: arrays by Torch path (arrays.py).

In TensorFlow's order they are the port's own variables: kernels as H×W×I×O, and the rows of a
linear layer behind a flattening in the order H, W, C in which the port flattens. In Torch's order
they are the tensors of the file, as `porter weights` writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from porter.emit.arrays import require, write_arrays
from porter.emit.formats import Emitter, ExportJob, ExportResult, size_of
from porter.emit.settings import WeightSettings
from porter.frontend.weights import Weights, collect


class WeightFiles(Emitter):
    """Plain arrays, for whoever brings a graph of their own."""

    name = "weights"
    trains = True

    def check(self, settings: Mapping[str, Any]) -> None:
        for kind in self.settings(settings).kinds:
            require(kind)

    def settings(self, settings: Mapping[str, Any]) -> WeightSettings:
        chosen: WeightSettings = settings.get(self.name) or WeightSettings()
        return chosen

    def emit(self, job: ExportJob, folder: Path) -> list[ExportResult]:
        chosen = self.settings(job.settings)
        weights = (
            collect(job.model.root, job.model.registry)
            if chosen.order == "torch"
            else port_weights(job)
        )
        note = f"{len(weights.arrays)} arrays in {chosen.order}'s order, read back bit by bit"
        rows: list[ExportResult] = []
        for kind in chosen.kinds:
            path = folder / f"weights.{kind}"
            write_arrays(weights, path, kind)
            rows.append(ExportResult(self.name, None, size_of(path), note, path.name))
        return rows


def port_weights(job: ExportJob) -> Weights:
    """The port's variables, and the Torch paths of those that Torch shares."""
    variables = job.port.variables.by_name.items()
    # In the variables' own memory: `numpy()` copies.
    arrays = {name: np.asarray(variable.read_value()) for name, variable in variables}
    shared = collect(job.model.root, job.model.registry).aliases
    aliases = {other: name for other, name in shared.items() if name in arrays}
    return Weights(arrays, aliases, "tensorflow")


FORMAT = WeightFiles()
