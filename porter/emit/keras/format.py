"""`model.keras`: a functional model of Keras 3 for TensorFlow, JAX and PyTorch.

Layers that Keras lacks are in `layers.py`, which is written beside it where there are any:

    import keras, layers

    model = keras.models.load_model("model.keras")

Each layer is named by its Torch path with `_` for `.`: `model.get_layer("12_1_2")` is module
12.1.2.
"""

from __future__ import annotations

from pathlib import Path

from porter.emit.formats import Emitter, ExportJob, ExportResult, size_of
from porter.emit.keras.network import build
from porter.emit.keras.repeatable import without_times
from porter.emit.subprocess_runner import run_in_subprocess
from porter.ir.nested import named_leaves
from porter.system.quiet import quiet_stderr

MODEL, LAYERS = "model.keras", "layers.py"


class Keras(Emitter):
    """Keras's own format."""

    name = "keras"
    trains = True

    def emit(self, job: ExportJob, folder: Path) -> list[ExportResult]:
        model, network = build(job.port.plan, job.port.variables)
        target, written = folder / MODEL, folder / LAYERS
        with quiet_stderr():
            model.save(target)
        without_times(target)
        if network.written:
            written.write_text(network.sources.text(), encoding="utf-8")
        names = [name for name, _ in named_leaves(job.port.graph.outputs, "output")]
        samples = [check.inputs for check in job.checks]
        outputs = run_in_subprocess("keras", target, samples, "tensorflow", *names)
        size = size_of(target) + (size_of(written) if network.written else 0)
        return [ExportResult(self.name, job.compare(outputs), size, network.note)]


FORMAT = Keras()
