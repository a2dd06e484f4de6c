"""Run a LiteRT file in a process that knows nothing of porter, on inputs of any size.

Run as a script in a fresh interpreter: `python -I reload_tflite.py MODEL.tflite INPUTS.npz
OUTPUTS.npz MODULE`, where MODULE holds the `Interpreter`. INPUTS holds `<sample>/<input name>`,
OUTPUTS gets `<sample>/<output name>`. Where the file takes or makes integers that stand for real
numbers, they are quantised and dequantised here.
"""

import importlib
import os
import sys
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def main(model: str, inputs: str, outputs: str, module: str) -> None:
    import numpy as np

    interpreter = importlib.import_module(module).Interpreter(model_path=model)
    runner = interpreter.get_signature_runner("serving_default")
    takes, makes = runner.get_input_details(), runner.get_output_details()
    samples: dict[str, dict[str, object]] = {}
    with np.load(inputs, allow_pickle=False) as archive:
        for key in archive.files:
            sample, name = key.split("/", 1)
            samples.setdefault(sample, {})[name] = quantised(archive[key], takes[name])
    made = {}
    for sample, tensors in samples.items():
        for name, array in runner(**tensors).items():
            made[f"{sample}/{name}"] = dequantised(array, makes[name])
    np.savez(outputs, **made)


def quantised(array: Any, tensor: Any) -> Any:
    """Real numbers as the integers that stand for them."""
    import numpy as np

    scale, zero = tensor["quantization"]
    if not scale:
        return array
    limits = np.iinfo(tensor["dtype"])
    integers = np.round(array / scale) + zero
    return np.clip(integers, limits.min, limits.max).astype(tensor["dtype"])


def dequantised(array: Any, tensor: Any) -> Any:
    """The real numbers that integers stand for."""
    import numpy as np

    scale, zero = tensor["quantization"]
    return (array.astype(np.float32) - zero) * np.float32(scale) if scale else array


if __name__ == "__main__":
    main(*sys.argv[1:])
