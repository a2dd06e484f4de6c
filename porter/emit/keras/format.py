"""`model.keras`: a functional model of Keras 3 for TensorFlow, JAX and PyTorch.

Layers that Keras lacks are in `layers.py`, which is written beside it where there are any:

    import keras, layers

    model = keras.models.load_model("model.keras")

Each layer is named by its Torch path with `_` for `.`: module 12.1.2 is `model.get_layer("12_1_2")`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from porter.emit.formats import Format, Job
from porter.emit.fresh import run_fresh
from porter.emit.keras.network import build
from porter.measure import Measure
from porter.nested import named_leaves
from porter.tensorflow import quiet_stderr

RELOAD = Path(__file__).with_name("reload.py")
MODEL, LAYERS = "model.keras", "layers.py"


class Keras(Format):
    """Keras's own format."""

    name = "keras"

    def write(self, job: Job, folder: Path) -> list[Path]:
        model, network = build(job.port.plan)
        target = folder / MODEL
        with quiet_stderr():
            model.save(target)
        if not network.written:
            return [target]
        (folder / LAYERS).write_text(network.sources.text(), encoding="utf-8")
        return [target, folder / LAYERS]

    def verify(self, job: Job, folder: Path) -> tuple[Measure | None, str]:
        names = [name for name, _ in named_leaves(job.port.graph.outputs, "output")]
        samples = [check.inputs for check in job.checks]
        made = run_fresh(RELOAD, folder / MODEL, samples, "tensorflow", *names)
        return job.compare(made), ""


FORMAT = Keras()
