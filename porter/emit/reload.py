"""Load a SavedModel in a process that knows nothing of porter and run it on stored inputs.

Run as a script in a fresh interpreter: `python -I reload.py SAVED_MODEL INPUTS.npz OUTPUTS.npz
[SIGNATURE]`. INPUTS holds `<sample>/<input name>`, OUTPUTS gets `<sample>/<output name>`.
"""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def main(saved_model: str, inputs: str, outputs: str, signature: str = "serving_default") -> None:
    import numpy as np
    import tensorflow as tf

    function = tf.saved_model.load(saved_model).signatures[signature]
    samples: dict[str, dict[str, object]] = {}
    with np.load(inputs, allow_pickle=False) as archive:
        for key in archive.files:
            sample, name = key.split("/", 1)
            samples.setdefault(sample, {})[name] = tf.constant(archive[key])
    made = {}
    for sample, tensors in samples.items():
        for name, tensor in function(**tensors).items():
            made[f"{sample}/{name}"] = tensor.numpy()
    np.savez(outputs, **made)


if __name__ == "__main__":
    main(*sys.argv[1:])
