"""`saved_model/`: runs wherever TensorFlow runs, without porter; CPU or GPU unchanged.

Signatures: `serving_default` (named inputs and outputs) and `activations` (every layer's output by
Torch path). `tf.saved_model.load(DIR)(x)` also works.
"""

from __future__ import annotations

from pathlib import Path

from porter.emit.port import Port
from porter.tensorflow import quiet_stderr, tf


def write(port: Port, folder: Path) -> None:
    """Write the SavedModel into a new folder."""
    with quiet_stderr():
        tf.saved_model.save(
            port.module,
            str(folder),
            signatures={
                "serving_default": port.serve,
                "activations": port.activations.get_concrete_function(),
            },
        )
