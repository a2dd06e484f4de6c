"""The nets that are timed, and at which sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import published, random_nets

HERE = Path(__file__).parent
FIXTURES = HERE.parent / "fixtures"


@dataclass(frozen=True)
class BenchmarkNet:
    """A folder with `model.t7` and, by real Torch7, an input and mostly what it made of it.

    `shapes` are timed, in Torch's order. Where there is none, the recorded input's is. Of a net
    that `make` writes nothing is recorded. `by_hand`: somebody wrote the same net for TensorFlow.
    """

    name: str
    folder: Path
    shapes: tuple[tuple[int, ...], ...] = ()
    make: Callable[[Path], None] | None = None
    by_hand: bool = True
    tokens: int = 0
    """The input is indices from 1 to this number."""

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
    BenchmarkNet("U-Net", FIXTURES / "nets/unet_nested_concat", ((1, 3, 256, 256),)),
    BenchmarkNet("hourglass", FIXTURES / "nets/hourglass_nngraph", ((1, 3, 256, 256),)),
    BenchmarkNet("super-resolution", Path(), ((1, 3, 128, 128),), random_nets.super_resolution),
    BenchmarkNet("LSTM", Path(), ((64, 8, 128),), random_nets.lstm),
    BenchmarkNet("oilpaint", FIXTURES / "trained/oilpaint", ((1, 3, 512, 512),)),
)


def of_paper(
    name: str,
    definition: published.Definition,
    *shape: int,
    tokens: int = 0,
) -> BenchmarkNet:
    """A published net at its published size."""

    def write(path: Path) -> None:
        published.write(definition, path)

    return BenchmarkNet(name, Path(), (shape,), write, by_hand=False, tokens=tokens)


ZOO = (
    of_paper("fast-neural-style", published.fast_neural_style, 1, 3, 512, 512),
    of_paper("CycleGAN", published.cyclegan, 1, 3, 256, 256),
    of_paper("SRResNet", published.srresnet, 1, 3, 128, 128),
    of_paper("ENet", published.enet, 1, 3, 512, 512),
    of_paper("ResNet-50", published.resnet_50, 1, 3, 224, 224),
    of_paper("DenseNet-121", published.densenet_121, 1, 3, 224, 224),
    of_paper("pix2pix U-Net", published.pix2pix, 1, 3, 256, 256),
    of_paper("VGG-16", published.vgg_16, 1, 3, 224, 224),
    of_paper("hourglass-8", published.hourglass_8, 1, 3, 256, 256),
    of_paper("language model", published.language_model, 200, 50, tokens=100),
    of_paper("waifu2x vgg_7", published.waifu2x_vgg_7, 1, 3, 512, 512),
)
"""Nets that other runtimes are measured with by their users."""

CONVERTED = (
    NETS[-1],
    *ZOO,
    of_paper("EDSR", published.edsr, 1, 3, 128, 128),
    of_paper("WCT decoder", published.wct_decoder, 1, 512, 16, 16),
    of_paper("3-D GAN generator", published.gan_3d, 1, 200, 1, 1, 1),
)
"""Nets whose whole conversions are measured."""
