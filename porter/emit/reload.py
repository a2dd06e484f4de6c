"""Load a SavedModel in a process that knows nothing of porter and run it on stored inputs.

Run as a script in a fresh interpreter: `python -I reload.py SAVED_MODEL INPUTS.npz OUTPUTS.npz
SIGNATURE…`, where there is one signature for all samples, or one for each. INPUTS holds
`<sample>/<input name>`, OUTPUTS gets `<sample>/<output name>`.
"""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def main(saved_model: str, inputs: str, outputs: str, *signatures: str) -> None:
    import numpy as np
    import tensorflow as tf

    model = tf.saved_model.load(saved_model)
    samples: dict[str, dict[str, object]] = {}
    with np.load(inputs, allow_pickle=False) as archive:
        for key in archive.files:
            sample, name = key.split("/", 1)
            samples.setdefault(sample, {})[name] = tf.constant(archive[key])
    made = {}
    for sample, tensors in samples.items():
        signature = signatures[int(sample) if len(signatures) > 1 else 0]
        for name, tensor in model.signatures[signature](**tensors).items():
            array = tensor.numpy()
            # Strings are objects, which an archive could only keep as a pickle.
            made[f"{sample}/{name}"] = array.astype(bytes) if array.dtype == object else array
    np.savez(outputs, **made)


if __name__ == "__main__":
    main(*sys.argv[1:])
