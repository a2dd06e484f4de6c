"""Load a SavedModel in a process that knows nothing of porter, and differentiate it in training.

Run as a script in a fresh interpreter: `python -I reload_training.py SAVED_MODEL INPUTS.npz
OUTPUTS.npz`. INPUTS holds `<sample>/<input name>` in the order of the model's inputs, OUTPUTS gets
`<sample>/gradients`: for each trainable variable, whether the outputs depend on it.
"""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def main(saved_model: str, inputs: str, outputs: str) -> None:
    import numpy as np
    import tensorflow as tf

    model = tf.saved_model.load(saved_model)
    samples: dict[str, list[object]] = {}
    with np.load(inputs, allow_pickle=False) as archive:
        for key in archive.files:
            samples.setdefault(key.split("/", 1)[0], []).append(tf.constant(archive[key]))
    made = {}
    for sample, tensors in samples.items():
        with tf.GradientTape() as tape:
            outcome = model(*tensors, training=True)
        gradients = tape.gradient(outcome, model.trainable_variables)
        made[f"{sample}/gradients"] = np.array([each is not None for each in gradients], bool)
    np.savez(outputs, **made)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(*sys.argv[1:])
