"""`checkpoint/`: the weights alone, named by Torch path, for `tf.train.load_checkpoint`.

The weight of module 12.1.2 is the tensor `12/1/2/weight/.ATTRIBUTES/VARIABLE_VALUE`; its axes are
in TensorFlow's order. An object with the same tree of attributes restores it as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from porter.emit.port import Port
from porter.tensorflow import quiet_stderr, tf

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


def write(port: Port, folder: Path) -> None:
    """Write the checkpoint into a new folder."""
    folder.mkdir()
    checkpoint = tf.train.Checkpoint(**tree(port.variables.by_name))
    with quiet_stderr():
        prefix = checkpoint.write(str(folder / "variables"))
    # A relative name, so that the folder can be moved.
    state = f'model_checkpoint_path: "{Path(prefix).name}"\n'
    (folder / "checkpoint").write_text(state, encoding="utf-8")


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


def differing(port: Port, folder: Path) -> str | None:
    """Read back: the name of a variable that is not what was written, or None."""
    reader = tf.train.load_checkpoint(str(folder))
    for name, variable in port.variables.by_name.items():
        stored = reader.get_tensor(name.replace(".", "/") + SUFFIX)
        if not np.array_equal(stored, variable.numpy()):
            return name
    return None
