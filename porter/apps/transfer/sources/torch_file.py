"""A Torch classifier `.t7` as a descriptor."""

from __future__ import annotations

from pathlib import Path

from porter.apps.transfer.source import Opening
from porter.apps.transfer.sources.module_source import ModuleSource, layer_paths
from porter.frontend.model_file import open_model
from porter.frontend.module_tree import submodules
from porter.frontend.run_mode import decide
from porter.imaging.presets import VGG
from porter.layer_maps import default_registry


def open_torch(path: Path, opening: Opening) -> ModuleSource:
    """Raises T7Error, or UsageError where the file holds several modules and none is chosen.

    The images are Caffe's where the names are those that loadcaffe gives VGG.
    """
    registry = opening.registry or default_registry()
    root = open_model(path, registry, opening.select).root
    names = tuple(layer_paths(root))
    modules = sum(1 for _ in submodules(root))
    return ModuleSource(
        f"Torch's {root.typename} of {modules} modules",
        VGG if {"conv1_1", "relu1_1"} <= set(names) else None,
        names,
        lambda layers: root,
        registry=registry,
        options=decide(root, opening.options).options,
    )
