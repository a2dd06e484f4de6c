"""A Torch classifier `.t7` as a descriptor."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from porter.apps.transfer.source import Opening
from porter.apps.transfer.sources.module_source import ModuleSource, layer_paths
from porter.frontend.model_file import open_model
from porter.frontend.module_tree import submodules
from porter.frontend.run_mode import decide
from porter.imaging.presets import BGR_MEAN, VGG, PixelEncoding
from porter.layer_maps import default_registry
from porter.torch7 import TorchObject


def open_torch(path: Path, opening: Opening) -> ModuleSource:
    """Raises T7Error, or UsageError where the file holds several modules and none is chosen.

    The images are Caffe's where the names are those that loadcaffe gives VGG, and plain where the
    first layer is what makes Caffe's of them.
    """
    registry = opening.registry or default_registry()
    root = open_model(path, registry, opening.select).root
    names = tuple(layer_paths(root))
    modules = sum(1 for _ in submodules(root))
    own = input_of_preprocessing(root)
    return ModuleSource(
        f"Torch's {root.typename} of {modules} modules",
        own or (VGG if {"conv1_1", "relu1_1"} <= set(names) else None),
        names,
        lambda layers: root,
        preprocesses=own is not None,
        registry=registry,
        options=decide(root, opening.options).options,
    )


def input_of_preprocessing(root: TorchObject) -> PixelEncoding | None:
    """What a net is fed whose first layer makes Caffe's numbers of colours; None for others.

    So begins `vgg_normalised.t7` of AdaIN and WCT: a convolution 1×1 of 255 and Caffe's mean.
    """
    first = next((each for _, each in submodules(root) if each.get("modules") is None), root)
    if not first.typename.endswith(".SpatialConvolution") or (first.get("kW"), first.get("kH")) != (
        1,
        1,
    ):
        return None
    weight, bias = (first.get(name) for name in ("weight", "bias"))
    if weight is None or bias is None or (matrix := weight.array).size != 9:
        return None
    matrix, shift = np.abs(matrix.reshape(3, 3)), bias.array
    sources = matrix.argmax(axis=1)
    scale = matrix.max()
    permuted = sorted(sources) == [0, 1, 2] and np.allclose(np.sort(matrix)[:, :2], 0)
    if not permuted or not np.allclose(np.sort(-shift), BGR_MEAN, atol=1):
        return None
    # The smallest mean is blue's.
    blue = sources[(-shift).argmin()]
    return PixelEncoding("RGB" if blue == 2 else "BGR", (0.0, 255.0 / float(scale)))
