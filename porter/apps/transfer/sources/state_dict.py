"""VGG in PyTorch's files: a state dict in a `.pth` or `.pt`, or the same names in `.safetensors`.

    features.0.weight, features.0.bias     torchvision/models/vgg.py: RGB in 0…1, mean and std
    conv1_1.weight, conv1_1.bias           Gatys's own for PyTorch: Caffe's BGR less its mean

Filters are O×I×kH×kW. torchvision numbers every layer of `features`, rectifiers and poolings too.
Pickles are read by PyTorch with `weights_only`, which runs nothing of the file's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from porter.apps.transfer.checks import damaged
from porter.apps.transfer.source import Opening
from porter.apps.transfer.sources.module_source import Load, ModuleSource
from porter.apps.transfer.sources.vgg import place, places, title, vgg
from porter.errors import WeightError
from porter.imaging.presets import RESNET, VGG
from porter.system.extras import optional

Array = npt.NDArray[Any]
Read = Callable[[str], Array]
Shapes = Mapping[str, tuple[int, ...]]
"""Shape of every array by its name."""

FEATURE = re.compile(r"(?:^|.*\.)features\.(\d+)\.weight$")
CAFFE_DIGESTS = ("00b39a1b", "d01eb7cb")
"""In the names of jcjohnson's files: Caffe's filters under torchvision's names."""


def open_pth(path: Path, opening: Opening) -> ModuleSource:
    """Raises UsageError where PyTorch is not installed, WeightError for other files."""
    without = ", or save the state dict as .safetensors"
    torch = optional("torch", "torch", "a file of PyTorch", without)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the file makes it stumble over
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightError(
            "PyTorch cannot load the file as plain weights",
            where=path.name,
            received=first,
            hint="save its state dict: torch.save(model.state_dict(), 'vgg.pth')",
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise WeightError("no dict of tensors", where=path.name, received=type(content).__name__)
    tensors = {
        str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)
    }
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return assembled(path, shapes, lambda name: tensors[name].detach().numpy())


def open_safetensors(path: Path, opening: Opening) -> ModuleSource:
    """Raises UsageError where safetensors is not installed, WeightError for other files."""
    safetensors = optional("safetensors", "safetensors", "a .safetensors file")
    broken = (safetensors.SafetensorError, OSError, ValueError, TypeError)

    def read(name: str) -> Array:
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                stored: Array = file.get_tensor(name)
                return stored
        except broken as error:
            raise damaged(path, error, f"array {name}") from error

    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except broken as error:
        raise damaged(path, error) from error
    return assembled(path, shapes, read)


def assembled(path: Path, shapes: Shapes, read: Read) -> ModuleSource:
    """The VGG whose arrays have these names. Raises WeightError where there is none."""
    filters = [name for name, shape in shapes.items() if len(shape) == 4]
    numbered = {int(match[1]): name for name in filters if (match := FEATURE.match(name))}
    if any(name.endswith("running_var") for name in shapes):
        raise WeightError(
            "these are the weights of a VGG with batch normalisation",
            where=path.name,
            hint="take the plain one: vgg16 or vgg19 without _bn",
        )
    names = dict(
        zip(places(sorted(numbered)), (numbered[i] for i in sorted(numbered)), strict=True)
    )
    if not numbered:
        named = ((place(name.removesuffix(".weight").rpartition(".")[2]), name) for name in filters)
        names = {at: name for at, name in named if at is not None}
    if (1, 1) not in names:
        raise WeightError(
            "no layer features.0 or conv1_1: these are not the weights of a VGG",
            where=path.name,
            received=", ".join(list(shapes)[:8]) or "no arrays",
            hint="a descriptor is a vgg16 or vgg19 of torchvision's, or another file of those that "
            "docs/transfer.md lists",
        )
    caffe = not numbered or any(digest in path.name for digest in CAFFE_DIGESTS)
    loads = {at: loader(name, shapes, read) for at, name in names.items()}
    return vgg(loads, f"{title(list(loads))} in PyTorch", VGG if caffe else RESNET)


def loader(name: str, shapes: Shapes, read: Read) -> Load:
    """Filters kH×kW×I×O and bias of a convolution."""
    bias = f"{name.removesuffix('weight')}bias"
    return lambda: (read(name).transpose(2, 3, 1, 0), read(bias) if bias in shapes else None)
