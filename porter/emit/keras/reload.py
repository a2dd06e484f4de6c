"""Load a model of Keras in a process that knows nothing of porter and run it on stored inputs.

Run as a script in a fresh interpreter: `python -I reload.py MODEL.keras INPUTS.npz OUTPUTS.npz
BACKEND OUTPUT…`. INPUTS holds `<sample>/<input name>`, OUTPUTS gets `<sample>/<output name>` for
the names given, in the order of the model's outputs. `layers.py` beside the model is imported if it
is there.
"""

import importlib.util
import os
import sys
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
sys.dont_write_bytecode = True  # nothing is left beside the model


def main(model: str, inputs: str, outputs: str, backend: str, *names: str) -> None:
    os.environ["KERAS_BACKEND"] = backend
    import keras
    import numpy as np

    layers = os.path.join(os.path.dirname(model), "layers.py")
    if os.path.exists(layers):
        spec = importlib.util.spec_from_file_location("layers", layers)
        assert spec is not None
        assert spec.loader is not None
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    loaded = keras.models.load_model(model)
    samples: dict[str, dict[str, object]] = {}
    with np.load(inputs, allow_pickle=False) as archive:
        for key in archive.files:
            sample, name = key.split("/", 1)
            samples.setdefault(sample, {})[name] = archive[key]
    made: dict[str, Any] = {}
    for sample, arrays in samples.items():
        given = [arrays[tensor.name] for tensor in loaded.inputs]
        results = loaded.predict_on_batch(given if len(given) > 1 else given[0])
        tensors = results if isinstance(results, list | tuple) else [results]
        for name, tensor in zip(names, tensors, strict=True):
            made[f"{sample}/{name}"] = np.asarray(tensor)
    np.savez(outputs, **made)


if __name__ == "__main__":
    main(*sys.argv[1:])
