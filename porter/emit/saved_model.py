"""`saved_model/`: runs wherever TensorFlow runs, without porter; CPU or GPU unchanged.

Signatures: `serving_default` (named inputs and outputs) and `activations` (every layer's output by
Torch path). `tf.saved_model.load(DIR)(x)` also works.
"""

from __future__ import annotations

from pathlib import Path

from porter.emit.formats import Format, Job
from porter.emit.fresh import run_saved_model
from porter.measure import Measure
from porter.tensorflow import quiet_stderr, tf


class SavedModel(Format):
    """TensorFlow's own format."""

    name = "saved_model"

    def write(self, job: Job, folder: Path) -> list[Path]:
        port, target = job.port, folder / self.name
        signatures = {
            "serving_default": port.serve,
            "activations": port.activations.get_concrete_function(),
        }
        with quiet_stderr():
            tf.saved_model.save(port.module, str(target), signatures=signatures)
        return [target]

    def verify(self, job: Job, folder: Path) -> tuple[Measure | None, str]:
        made = run_saved_model(folder / self.name, [check.inputs for check in job.checks])
        return job.compare(made), ""


FORMAT = SavedModel()
