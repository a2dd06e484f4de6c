"""What a conversion costs: seconds by stage and memory, at three sizes of a VGG-19; `inspect` too.

    python -m benchmarks.conversion

Verification is left out: its cost follows from the layers and the inputs they are verified on.
Each size is measured in a process of its own.

    python -m benchmarks.conversion --whole [--net NAME …] [--format FORMAT …]

measures whole conversions of published nets instead (whole_conversion.py).
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).parent.parent
STAGES = (2, 2, 4, 4, 4)
SIZES = ((0.5, "a quarter of VGG-19"), (0.71, "half of VGG-19"), (1.0, "VGG-19"))
"""Planes in parts of VGG-19's: weights grow with the square."""


def write_net(path: Path, width: float) -> int:
    """A VGG-19 with planes × `width` and random weights; returns the file's bytes."""
    from porter.torch7 import build
    from porter.torch7.writer import write_t7

    random = np.random.default_rng(1)

    def weights(*shape: int) -> Any:
        bound = np.float32(1 / math.sqrt(math.prod(shape[1:])))
        return (random.random(shape, np.float32) - np.float32(0.5)) * bound

    layers: list[Any] = []
    planes = 3
    for stage, count in enumerate(STAGES):
        outputs = int(width * min(64 * 2**stage, 512))
        for _ in range(count):
            weight = weights(outputs, planes, 3, 3)
            layers += [
                build.convolution(weight, weights(outputs), pad=(1, 1)),
                build.relu(inplace=True),
            ]
            planes = outputs
        layers.append(build.max_pooling((2, 2), (2, 2)))
    features = planes * 49
    layers.append(build.view(features, sample_rank=3))
    for outputs in (int(4096 * width), int(4096 * width), 1000):
        layers.append(
            build.torch_module(
                "nn.Linear", weight=weights(outputs, features), bias=weights(outputs)
            )
        )
        features = outputs
    write_t7(path, build.sequential(*layers))
    return path.stat().st_size


def convert_in_stages(path: str, folder: str) -> dict[str, float]:
    """Seconds of each stage and megabytes held at most, before and after."""
    took: dict[str, float] = {}

    def timed(name: str, stage: Callable[[], Any]) -> Any:
        began, used = time.perf_counter(), time.process_time()
        result = stage()
        took[name] = time.perf_counter() - began
        took[f"{name}, processor"] = time.process_time() - used
        took[f"{name}, MB"] = peak_megabytes()
        return result

    def imported() -> None:
        import porter.system.tensorflow  # noqa: F401

    timed("import tensorflow", imported)
    from porter.emit.checkpoint import FORMAT as CHECKPOINT
    from porter.emit.formats import ExportJob
    from porter.emit.port import build
    from porter.emit.saved_model import FORMAT as SAVED_MODEL
    from porter.emit.settings import ExportOptions
    from porter.frontend.dynamic import generalise
    from porter.frontend.model_file import open_model
    from porter.ir.graph import TensorType
    from porter.layer_maps import default_registry
    from porter.runtime.runner import Variables

    model = timed("read", lambda: open_model(Path(path), default_registry()).model())
    types = TensorType((2, 3, 224, 224))
    graph = timed("walk", lambda: generalise(model, types))
    port = timed("trace and fill variables", lambda: build(graph, Variables(), ExportOptions()))
    job = ExportJob(model, types, port, ())
    timed("write saved_model", lambda: SAVED_MODEL.write(job, Path(folder)))
    timed("write checkpoint", lambda: CHECKPOINT.write(job, Path(folder)))
    return took


def peak_megabytes() -> float:
    """Most megabytes of memory that this process held, pages of the mapped file among them."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (each for each in status.splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) / 2**10


def main() -> None:
    for width, name in SIZES:
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "net.t7"
            size = write_net(path, width)
            command = [sys.executable, "-m", "benchmarks.conversion", str(path), place]
            done = subprocess.run(
                command, cwd=REPOSITORY, capture_output=True, text=True, check=True
            )
            found = json.loads(done.stdout.splitlines()[-1])
            stages = [key for key in found if f"{key}, processor" in found]
            beyond = [key for key in stages if key != "import tensorflow"]
            print(f"\n{name}: {size / 1e6:.0f} MB")
            for key in stages:
                used, most = found[f"{key}, processor"], found[f"{key}, MB"]
                print(f"  {key:26} {found[key]:6.2f} s, processor {used:.2f} s, {most:.0f} MB")
            for kind in ("", ", processor"):
                print(f"  beyond import{kind:13} {sum(found[key + kind] for key in beyond):6.2f} s")


def whole() -> None:
    from benchmarks import whole_conversion

    parser = argparse.ArgumentParser(prog="python -m benchmarks.conversion")
    parser.add_argument("--whole", action="store_true", required=True, help="whole conversions")
    parser.add_argument("--net", action="append", help="only nets whose name contains this")
    parser.add_argument("--format", action="append", help="formats to write")
    options = parser.parse_args()
    formats = options.format or ("saved_model", "checkpoint")
    whole_conversion.main(options.net or (), formats)


if __name__ == "__main__":
    if any(argument.startswith("-") for argument in sys.argv[1:]):
        whole()
    elif len(sys.argv) > 1:
        print(json.dumps(convert_in_stages(*sys.argv[1:])))
    else:
        main()
