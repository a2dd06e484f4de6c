"""Run an emitted `model.py` on stored inputs, in a process that knows nothing of porter.

Run as a script in a fresh interpreter: `python -I run.py FOLDER INPUTS.npz OUTPUTS.npz`. INPUTS
holds `<sample>/<input name>`, OUTPUTS gets `<sample>/<position>` in the order of nested tables.
"""

import importlib.util
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
sys.dont_write_bytecode = True  # the folder is the user's


def main(folder: str, inputs: str, outputs: str) -> None:
    import numpy as np
    import tensorflow as tf

    spec = importlib.util.spec_from_file_location("model", os.path.join(folder, "model.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.load(os.path.join(folder, "weights.npz"))
    samples: dict[str, list[object]] = {}
    with np.load(inputs, allow_pickle=False) as archive:
        for key in archive.files:
            samples.setdefault(key.split("/", 1)[0], []).append(tf.constant(archive[key]))
    made = {}
    for sample, tensors in samples.items():
        for position, tensor in enumerate(tf.nest.flatten(network(*tensors))):
            made[f"{sample}/{position}"] = tensor.numpy()
    np.savez(outputs, **made)


if __name__ == "__main__":
    main(*sys.argv[1:])
