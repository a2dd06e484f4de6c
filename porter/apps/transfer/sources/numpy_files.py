"""Weights in NumPy's formats: `vgg16_weights.npz`, and the pickled dicts `vgg19.npy` and
`bvlc_alexnet.npy`.

An `.npz` has keys `conv1_1_W` and `conv1_1_b`; its filters want RGB. An `.npy` holds a dict of
`conv1_1: [weights, bias]` as caffe-tensorflow writes it; its filters want BGR. Both are HWIO.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from porter.apps.transfer.checks import damaged
from porter.apps.transfer.source import Opening
from porter.apps.transfer.sources.alexnet import FIRST_KERNEL, alexnet
from porter.apps.transfer.sources.module_source import Load, ModuleSource, chain
from porter.apps.transfer.sources.safe_unpickle import read_arrays
from porter.apps.transfer.sources.vgg import place, title, vgg
from porter.errors import WeightError
from porter.imaging.presets import BGR_MEAN, VGG, PixelEncoding
from porter.runtime.archive import BROKEN, open_archive

Array = npt.NDArray[Any]

RGB_LESS_MEAN = PixelEncoding("RGB", (0.0, 255.0), (BGR_MEAN[2], BGR_MEAN[1], BGR_MEAN[0]))
"""RGB in 0…255 less its mean: the filters of the `.npz` were reversed with the channels."""


def open_npz(path: Path, opening: Opening) -> ModuleSource:
    """Weights under keys `NAME_W` and `NAME_b`, read one by one when they are needed."""
    try:
        with open_archive(path) as archive:
            keys = list(archive.files)
    except BROKEN as error:
        raise damaged(path, error) from error
    layers = [key[:-2] for key in keys if key.endswith("_W")]

    def array(key: str) -> Array:
        try:
            with open_archive(path) as archive:
                stored: Array = archive[key]
                return stored
        except BROKEN as error:
            raise damaged(path, error, f"array {key}") from error

    def load(name: str) -> Load:
        has_bias = f"{name}_b" in keys
        return lambda: (array(f"{name}_W"), array(f"{name}_b") if has_bias else None)

    return assembled(path, {name: load(name) for name in layers}, RGB_LESS_MEAN, keys, None)


def open_npy(path: Path, opening: Opening) -> ModuleSource:
    """A pickled dict of `NAME: [weights, bias]` (or `NAME: {"weights": …, "biases": …}`)."""
    content = read_arrays(path)
    if isinstance(content, np.ndarray):
        raise WeightError(
            "one array, and no dict of layers",
            where=path.name,
            received="×".join(map(str, content.shape)) + f" of {content.dtype}",
        )
    if not isinstance(content, Mapping):
        raise WeightError(
            "no dict of layers", where=path.name, received=f"one {type(content).__name__}"
        )
    pairs: dict[str, tuple[Array, Array | None]] = {}
    for name, value in content.items():
        pair = pair_of(value)
        if pair is not None:
            pairs[str(name)] = pair

    def load(name: str) -> Load:
        return lambda: pairs[name]

    loads = {name: load(name) for name in pairs}
    shapes = {name: pair[0].shape for name, pair in pairs.items()}
    return assembled(path, loads, VGG, [str(key) for key in content], shapes)


def pair_of(value: Any) -> tuple[Array, Array | None] | None:
    """Weights and bias of one layer, however they are kept."""
    if isinstance(value, Mapping):
        weight, bias = value.get("weights"), value.get("biases")
    elif isinstance(value, list | tuple) and value:
        weight, bias = value[0], value[1] if len(value) > 1 else None
    else:
        return None
    if not isinstance(weight, np.ndarray):
        return None
    return weight, bias if isinstance(bias, np.ndarray) else None


def assembled(
    path: Path,
    loads: Mapping[str, Load],
    preprocessing: PixelEncoding,
    keys: list[str],
    shapes: Mapping[str, tuple[int, ...]] | None,
) -> ModuleSource:
    """The network that layers of these names are. Raises WeightError where they are none."""
    places = {at: load for name, load in loads.items() if (at := place(name)) is not None}
    if (1, 1) in places:
        return vgg(places, title(list(places)), preprocessing)
    if "conv1" in loads:
        kernel = shapes["conv1"][0] if shapes else loads["conv1"]()[0].shape[0]
        if kernel == FIRST_KERNEL:
            layers = alexnet(loads)
            return ModuleSource("AlexNet", preprocessing, tuple(layers), chain(layers))
        raise WeightError(
            f"the first layer, conv1, is {kernel} pixels wide: this is neither VGG nor AlexNet",
            where=path.name,
            received=some(keys),
        )
    if places:
        raise WeightError(
            "the first convolution, conv1_1, is missing", where=path.name, received=some(keys)
        )
    if any(name.startswith("fc") for name in loads):
        raise WeightError(
            "the file holds fully-connected layers only, which describe no image",
            where=path.name,
            received=some(keys),
            hint="a descriptor needs the convolutions: conv1_1, conv1_2 …",
        )
    raise WeightError(
        "no layer of a known name: neither conv1_1 (VGG) nor conv1 (AlexNet)",
        where=path.name,
        received=some(keys),
    )


def some(keys: list[str]) -> str:
    """The first few keys of a file."""
    more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
    return (", ".join(keys[:8]) or "nothing") + more
