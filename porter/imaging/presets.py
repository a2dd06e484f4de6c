"""How images become a net's input, and its output an image.

A pixel value L of 0…255 becomes `(low + L/255·(high − low) − mean) / std`, with the channels in the
net's order. The output is converted by the inverse of this rule, clipped to 0…255 and rounded to
the nearest integer. A user's own preset is a TOML file:

    [input]
    channels = "BGR"                      # RGB, BGR, Y (colours come from the photo) or grey
    range = [0, 255]                      # what 0 and 255 become, before mean and std
    mean = [103.939, 116.779, 123.68]     # one number, or one per channel
    std = [1]

    [output]                              # left out for a classifier
    channels = "RGB"

Above the tables there may be `name`, `median_filter` (odd), `border` ("none" or "replicate") and
`labels` (a list, or a text file with one class per line).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from porter.errors import UsageError
from porter.system.input_files import require_file
from porter.system.suggestions import did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PLANES = {"RGB": 3, "BGR": 3, "Y": 1, "grey": 1}
"""Number of planes of each channel order. `Y` takes its colours from the photo, `grey` has none."""

Numbers = tuple[float, ...]


@dataclass(frozen=True)
class PixelEncoding:
    """Pixel values at one end of a net; `mean` and `std` have one number, or one per channel."""

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

    `median_filter` is the odd window size of a median filter on the output image (0: none), which
    removes `median_filter - 1` rows and columns, as the Torch scripts do. `border` is "replicate"
    if the photo's edge is repeated outwards to replace what the net's convolutions crop. `labels`
    names the classes.
    """

    name: str
    input: PixelEncoding
    output: PixelEncoding | None
    median_filter: int = 0
    border: str = "none"
    labels: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """As stored in the manifest; `parse_preset` reads it."""
        body = asdict(self)
        if self.output is None:
            del body["output"]
        return body


BGR_MEAN = (103.939, 116.779, 123.68)
"""Mean of ImageNet's images in 0…255, as Caffe's VGG nets subtract it."""
RGB_MEAN, RGB_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""The same for images in 0…1, from fb.resnet.torch."""

UNIT = PixelEncoding()
LUMINANCE = PixelEncoding("Y")
VGG = PixelEncoding("BGR", (0.0, 255.0), BGR_MEAN)
RESNET = PixelEncoding("RGB", (0.0, 1.0), RGB_MEAN, RGB_STD)
SYMMETRIC = PixelEncoding("BGR", (-1.0, 1.0))
"""pix2pix/util/util.lua and CycleGAN/util/util.lua both turn RGB to BGR before they rescale."""
LEVELS = PixelEncoding("RGB", (0.0, 255.0))
DRAWING = PixelEncoding("grey", (0.0, 1.0), (0.9664423107454593,), (0.08583666033640507,))
"""Of sketch_simplification's model_gan.t7; every file of it has its own beside the net."""

BUILT_IN = {
    preset.name: preset
    for preset in (
        Preset("plain", UNIT, UNIT),
        Preset("texture-nets", UNIT, VGG),
        Preset("fast-neural-style-vgg", VGG, VGG, median_filter=3),
        Preset("fast-neural-style-resnet", RESNET, RESNET, median_filter=3),
        Preset("pix2pix", SYMMETRIC, SYMMETRIC),
        Preset("cyclegan", SYMMETRIC, SYMMETRIC),
        Preset("luminance", LUMINANCE, LUMINANCE),
        Preset("edsr", LEVELS, LEVELS),
        Preset("sketch-simplification", DRAWING, PixelEncoding("grey")),
        Preset("waifu2x-rgb", UNIT, UNIT, border="replicate"),
        Preset("waifu2x-y", LUMINANCE, LUMINANCE, border="replicate"),
        Preset("imagenet-torch", RESNET, None),
        Preset("imagenet-caffe", VGG, None),
    )
}
"""Presets by name; each follows the Torch script of its project."""


def find(choice: str) -> Preset:
    """The preset with this name, or in this TOML file. Raises UsageError."""
    if choice in BUILT_IN:
        return BUILT_IN[choice]
    if choice.endswith(".toml"):
        return read_preset(choice)
    raise UsageError(
        f"there is no preset '{choice}'{did_you_mean([choice], BUILT_IN)}",
        hint=f"presets: {', '.join(BUILT_IN)}; or a FILE.toml of your own (docs/stylize.md)",
    )


# TOML files ---------------------------------------------------------------------------------------

SIDE = ("channels", "range", "mean", "std")
PRESET = ("name", "input", "output", "median_filter", "border", "labels")


def read_preset(path: str) -> Preset:
    """The preset that a TOML file describes. Raises UsageError."""
    file = Path(path)
    try:
        body = tomllib.loads(require_file(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from error
    labels = body.get("labels")
    if isinstance(labels, str):
        body["labels"] = read_labels(file.parent / labels)
    return parse_preset({"name": file.stem} | body, path)


def read_labels(path: Path) -> list[str]:
    """One class per line."""
    try:
        return require_file(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the labels in {path} cannot be read: {error}") from error


def parse_preset(body: Mapping[str, Any], where: str) -> Preset:
    """A preset from a table, of which every entry is checked. Raises UsageError."""
    require_known_entries(body, PRESET, where)
    if "input" not in body:
        raise UsageError("a preset needs a table [input]", where=where)
    window = body.get("median_filter", 0)
    if type(window) is not int or window < 0 or (window and window % 2 == 0):
        raise UsageError("median_filter is 0 or odd", where=where, received=str(window))
    border = body.get("border", "none")
    if border not in ("none", "replicate"):
        raise UsageError('border is "none" or "replicate"', where=where, received=str(border))
    labels = body.get("labels", [])
    if not isinstance(labels, list | tuple) or not all(isinstance(each, str) for each in labels):
        raise UsageError("labels is a list of strings, or a file", where=where)
    output = body.get("output")
    return Preset(
        str(body.get("name", "unnamed")),
        parse_encoding(body["input"], f"{where}, [input]"),
        None if output is None else parse_encoding(output, f"{where}, [output]"),
        window,
        border,
        tuple(labels),
    )


def parse_encoding(body: Any, where: str) -> PixelEncoding:
    """The encoding of one end of the net, from a table. Raises UsageError."""
    if not isinstance(body, Mapping):
        raise UsageError("this should be a table", where=where, received=repr(body))
    require_known_entries(body, SIDE, where)
    channels = body.get("channels", "RGB")
    if channels not in PLANES:
        raise UsageError(
            "channels is one of " + ", ".join(PLANES), where=where, received=repr(channels)
        )
    low, high = parse_numbers(body.get("range", (0, 1)), (2,), f"{where}, range")
    if low == high:
        raise UsageError("range is two different numbers", where=where, received=f"{low}, {high}")
    counts = (1, PLANES[channels])
    mean = parse_numbers(body.get("mean", (0,)), counts, f"{where}, mean")
    std = parse_numbers(body.get("std", (1,)), counts, f"{where}, std")
    if 0 in std:
        raise UsageError("std must not be 0", where=where)
    return PixelEncoding(channels, (low, high), mean, std)


def parse_numbers(value: Any, counts: tuple[int, ...], where: str) -> Numbers:
    """A list of finite numbers, as many as one of `counts`. Raises UsageError."""
    items = list(value) if isinstance(value, list | tuple) else [value]
    plain = all(
        isinstance(each, int | float) and not isinstance(each, bool) and abs(each) < float("inf")
        for each in items
    )
    if not plain or len(items) not in counts:
        expected = " or ".join(str(count) for count in dict.fromkeys(counts))
        raise UsageError(f"this should be {expected} number(s)", where=where, received=repr(value))
    return tuple(float(each) for each in items)


def require_known_entries(body: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    """Raise UsageError for a misspelt entry, which would otherwise be ignored."""
    for name in body:
        if name not in names:
            raise UsageError(
                f"there is no entry '{name}' here", where=where, hint="entries: " + ", ".join(names)
            )
