"""What the numbers of a net mean: how a picture becomes its input, and its output a picture.

A level L of 0…255 stands for the number `low + L/255·(high − low)`, less `mean`, over `std`, with
the channels in the net's order. The output is read by the same rule backwards, clipped to 0…255 and
rounded to the nearest level.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from porter.errors import UsageError

PLANES = {"RGB": 3, "BGR": 3, "Y": 1, "grey": 1}
"""How many planes each order of channels has. `Y` keeps the photo's colours, `grey` has none."""

Numbers = tuple[float, ...]


@dataclass(frozen=True)
class PixelEncoding:
    """One end of a net. `mean` and `std` have one number, or one a channel in `channels`' order."""

    channels: str = "RGB"
    range: tuple[float, float] = (0.0, 1.0)
    mean: Numbers = (0.0,)
    std: Numbers = (1.0,)

    @property
    def planes(self) -> int:
        """Channels of the net's tensor."""
        return PLANES[self.channels]


@dataclass(frozen=True)
class Preset:
    """`output` is None for a classifier, whose scores become the most probable classes.

    `median_filter` is the odd size of the window taken over the finished picture (0: none), which
    cuts `median_filter - 1` rows and columns, as the Torch scripts do. `border` is "replicate"
    where the photo's edge is repeated outwards as far as the net's convolutions eat it up.
    `labels` names the classes.
    """

    name: str
    input: PixelEncoding
    output: PixelEncoding | None
    median_filter: int = 0
    border: str = "none"
    labels: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """As the manifest keeps it; `preset_file.parse` reads it again."""
        body = asdict(self)
        if self.output is None:
            del body["output"]
        return body


BGR_MEAN = (103.939, 116.779, 123.68)
"""Mean of ImageNet's pictures in levels, as the VGG nets of Caffe subtract it."""
RGB_MEAN, RGB_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""The same of pictures in 0…1, from fb.resnet.torch."""

UNIT = PixelEncoding()
VGG = PixelEncoding("BGR", (0.0, 255.0), BGR_MEAN)
RESNET = PixelEncoding("RGB", (0.0, 1.0), RGB_MEAN, RGB_STD)
SYMMETRIC = PixelEncoding("BGR", (-1.0, 1.0))
"""pix2pix/util/util.lua and CycleGAN/util/util.lua both turn RGB to BGR before they rescale."""

BUILT_IN = {
    preset.name: preset
    for preset in (
        Preset("plain", UNIT, UNIT),
        Preset("texture-nets", UNIT, VGG),
        Preset("fast-neural-style-vgg", VGG, VGG, median_filter=3),
        Preset("fast-neural-style-resnet", RESNET, RESNET, median_filter=3),
        Preset("pix2pix", SYMMETRIC, SYMMETRIC),
        Preset("cyclegan", SYMMETRIC, SYMMETRIC),
        Preset("waifu2x-rgb", UNIT, UNIT, border="replicate"),
        Preset("waifu2x-y", PixelEncoding("Y"), PixelEncoding("Y"), border="replicate"),
        Preset("imagenet-torch", RESNET, None),
        Preset("imagenet-caffe", VGG, None),
    )
}
"""Presets by name; each is what the Torch script of its project does."""


def find(choice: str) -> Preset:
    """The preset of a name, or of a TOML file. Raises UsageError."""
    if choice in BUILT_IN:
        return BUILT_IN[choice]
    if choice.endswith(".toml"):
        from porter.imaging.preset_file import read

        return read(choice)
    raise UsageError(
        f"there is no preset '{choice}'",
        hint=f"presets: {', '.join(BUILT_IN)}; or a FILE.toml of your own (docs/stylize.md)",
    )
