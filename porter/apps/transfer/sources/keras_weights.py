"""Keras's HDF5 files of VGG: weights by layer name, as keras.applications publishes them.

    vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5    /block1_conv1/block1_conv1_W_1:0 …
    model.h5                                             /model_weights/block1_conv1/…
    model.weights.h5                                     /layers/conv2d/vars/0 …, named beside
    vgg16_weights.h5                                     /layer_1/param_0 … (the example of 2016)

A layer of that name holds its rectifier: `block1_conv1` is what `relu1_1` is elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from porter.apps.transfer.checks import damaged, digests
from porter.apps.transfer.source import DescriptorSource, Opening
from porter.apps.transfer.sources.module_source import Load
from porter.apps.transfer.sources.vgg import Place, place, places, title, vgg
from porter.emit.hdf5 import BROKEN, require_finite_heaps, require_self_contained
from porter.errors import WeightError
from porter.imaging.presets import VGG

PUBLISHED = {
    "64373286793e3c8b2b4e3219cbf3544b": "VGG-16 of keras.applications",
    "6d6bbae143d832006294945121d1f1fc": "VGG-16 of keras.applications, without top",
    "cbe5617147190e668d6c5d5026f83318": "VGG-19 of keras.applications",
    "253f8cb515780f3b799900260a226db6": "VGG-19 of keras.applications, without top",
}
"""By md5 (keras/src/applications/vgg16.py, vgg19.py)."""


Shape = tuple[tuple[int, ...], str]
"""Shape of an array, and the name of its layer where the file tells it."""


def open_h5(path: Path, opening: Opening) -> DescriptorSource:
    """VGG's convolutions by name; any other whole model is left to Keras."""
    import h5py

    try:
        require_finite_heaps(path)
        with h5py.File(path, "r") as file:
            require_self_contained(file, path.name, path.stat().st_size)
            shapes = datasets(file)
            whole = "model_config" in file.attrs
            top = list(file.keys())
    except BROKEN as error:
        raise damaged(path, error) from error
    if "layer_0" in top:
        return numbered_layers(path, shapes)
    by_place: dict[Place, dict[int, str]] = {}
    for name, (shape, label) in shapes.items():
        at = next((p for part in (*name.split("/"), label) if (p := place(part))), None)
        if at is not None:
            by_place.setdefault(at, {})[len(shape)] = name
    if 4 in by_place.get((1, 1), ()):
        require_order(path, shapes[by_place[1, 1][4]][0])
        loads = {at: loader(path, names) for at, names in by_place.items() if 4 in names}
        published = PUBLISHED.get(digests(path)["md5"])
        return vgg(loads, published or f"{title(list(loads))} of Keras", VGG)
    if whole:
        from porter.apps.transfer.sources.keras_model import open_keras

        return open_keras(path, opening)
    dense = shapes and all(len(shape) < 4 for shape, _ in shapes.values())
    raise WeightError(
        "the file holds fully-connected layers only, which describe no image"
        if dense
        else "no layer block1_conv1: these are not the weights of Keras's VGG",
        where=path.name,
        received=", ".join(top[:8]) or "an empty file",
        hint="a file of weights alone does not say how its layers are joined; save the whole "
        "model as .keras",
    )


def numbered_layers(path: Path, shapes: Mapping[str, Shape]) -> DescriptorSource:
    """VGG as Keras's first examples had it: paddings, convolutions and poolings by number.

    Theano computed with these filters: O×I×kH×kW, and turned round, since it convolves.
    """
    numbers = sorted(
        int(name.split("/")[0][6:])
        for name, (shape, _) in shapes.items()
        if re.match(r"layer_\d+/param_0$", name) and len(shape) == 4
    )
    loads = {
        at: turned(loader(path, {4: f"layer_{number}/param_0", 1: f"layer_{number}/param_1"}))
        for at, number in zip(places(numbers), numbers, strict=True)
    }
    if (1, 1) not in loads:
        raise WeightError(
            "no layer holds filters of a convolution",
            where=path.name,
            received=", ".join(list(shapes)[:8]),
        )
    return vgg(loads, f"{title(list(loads))} of Keras's first examples", VGG)


def turned(load: Load) -> Load:
    """Theano's filters as kH×kW×I×O of a correlation."""

    def loaded() -> tuple[Any, Any]:
        filters, bias = load()
        return filters[:, :, ::-1, ::-1].transpose(2, 3, 1, 0), bias

    return loaded


def datasets(file: Any) -> dict[str, Shape]:
    """Shape of every array by its path, with the layer's name where its group tells it."""
    import h5py

    shapes: dict[str, Shape] = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and "optimizer" not in name:
            shapes[name] = tuple(item.shape), str(item.parent.attrs.get("name", ""))

    file.visititems(note)
    return shapes


def loader(path: Path, names: dict[int, str]) -> Load:
    """Filters (the array of four axes) and bias (of one)."""

    def load() -> tuple[Any, Any]:
        import h5py

        try:
            with h5py.File(path, "r") as file:
                bias = np.asarray(file[names[1]]) if 1 in names else None
                return np.asarray(file[names[4]]), bias
        except BROKEN as error:
            raise damaged(path, error) from error

    return load


def require_order(path: Path, shape: tuple[int, ...]) -> None:
    """Raise WeightError for Theano's files, whose axes are out×in×height×width."""
    if len(shape) == 4 and shape[1] == 3 and shape[0] > 3 == shape[3]:
        raise WeightError(
            "the weights are in Theano's order of axes, which nothing reads today",
            where=path.name,
            received="×".join(map(str, shape)) + " for block1_conv1, where 3×3×3×64 is expected",
            hint="load the file whose name has tf_dim_ordering_tf_kernels",
        )
