"""`checkpoint/`: the weights alone, named by Torch path, for `tf.train.load_checkpoint`.

The weight of module 12.1.2 is the tensor `12/1/2/weight/.ATTRIBUTES/VARIABLE_VALUE`; its axes are
in TensorFlow's order. An object with the same tree of attributes restores it as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from porter.emit.formats import ExportJob, Format
from porter.errors import ParityError
from porter.parity.measure import Measure, equal
from porter.system.quiet import quiet_stderr
from porter.system.tensorflow import tf

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


class Checkpoint(Format):
    """tf.train.Checkpoint."""

    name = "checkpoint"
    trains = True

    def write(self, job: ExportJob, folder: Path) -> list[Path]:
        target = folder / self.name
        target.mkdir()
        checkpoint = tf.train.Checkpoint(**tree(job.port.variables.by_name))
        with quiet_stderr():
            prefix = checkpoint.write(str(target / "variables"))
        # A relative name, so that the folder can be moved.
        state = f'model_checkpoint_path: "{Path(prefix).name}"\n'
        (target / "checkpoint").write_text(state, encoding="utf-8")
        return [target]

    def verify(self, job: ExportJob, folder: Path) -> tuple[Measure | None, str]:
        reader = tf.train.load_checkpoint(str(folder / self.name))
        for name, variable in job.port.variables.by_name.items():
            stored = reader.get_tensor(name.replace(".", "/") + SUFFIX)
            if not equal(stored, np.asarray(variable.read_value())):
                raise ParityError(f"the checkpoint does not hold what was written as {name}")
        return None, f"{len(job.port.variables.by_name)} variables read back"


def tree(variables: dict[str, Any]) -> dict[str, Any]:
    """Variables by path as nested dicts: `12.1.2.weight` under 12, 1, 2."""
    root: dict[str, Any] = {}
    for name, variable in variables.items():
        *path, last = name.split(".")
        place = root
        for part in path:
            place = place.setdefault(part, {})
        place[last] = variable
    return root


FORMAT = Checkpoint()
