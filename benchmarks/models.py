"""The nets that are timed, and at which sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import random_nets

HERE = Path(__file__).parent
FIXTURES = HERE.parent / "fixtures"


@dataclass(frozen=True)
class BenchmarkNet:
    """A folder with `model.t7` and, by real Torch7, an input and mostly what it made of it.

    `shapes` are timed, in Torch's order. Where there is none, the recorded input's is. Of a net
    that `make` writes nothing is recorded.
    """

    name: str
    folder: Path
    shapes: tuple[tuple[int, ...], ...] = ()
    make: Callable[[Path], None] | None = None

    @property
    def model(self) -> Path:
        return self.folder / "model.t7"

    @property
    def recording(self) -> Path:
        small = self.folder / "output.t7"
        return small if small.is_file() else self.folder / "activations.t7"


NETS = (
    BenchmarkNet(
        "johnson",
        HERE / "models/johnson_full",
        ((1, 3, 256, 256), (1, 3, 512, 512), (1, 3, 1024, 1024), (8, 3, 256, 256)),
    ),
    BenchmarkNet("fast-neural-style slim", HERE / "models/fns_instance_norm", ((1, 3, 256, 256),)),
    BenchmarkNet("VGG slim", HERE / "models/vgg_slim"),
    BenchmarkNet("ResNet-18 slim", HERE / "models/resnet18_slim_typeB"),
    BenchmarkNet("U-BenchmarkNet", FIXTURES / "nets/unet_nested_concat", ((1, 3, 256, 256),)),
    BenchmarkNet("hourglass", FIXTURES / "nets/hourglass_nngraph", ((1, 3, 256, 256),)),
    BenchmarkNet("super-resolution", Path(), ((1, 3, 128, 128),), random_nets.super_resolution),
    BenchmarkNet("LSTM", Path(), ((64, 8, 128),), random_nets.lstm),
    BenchmarkNet("oilpaint", FIXTURES / "trained/oilpaint", ((1, 3, 512, 512),)),
)
