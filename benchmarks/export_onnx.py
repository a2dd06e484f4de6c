"""`net.onnx` from `graph.pickle`, by PyTorch: what ONNX Runtime, OpenVINO and OpenCV are given."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np

from benchmarks.runtimes import open_torch_net


def main(folder: str) -> None:
    import torch

    place = Path(folder)
    x = torch.from_numpy(np.load(place / "input.npy"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            open_torch_net(place), (x,), str(place / "net.onnx"), opset_version=17, dynamo=False
        )


if __name__ == "__main__":
    main(sys.argv[1])
