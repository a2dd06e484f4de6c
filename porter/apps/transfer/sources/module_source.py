"""A descriptor that is a Torch module tree, walked and run like any other network.

Layers are asked for by the `name` field of their modules, which loadcaffe gives every one, or by
Torch path (`1`, `3.2`). The features of a layer are what its module returned, also where the next
one overwrites them. Files of other formats, whose layers are those of Torch, become module trees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from porter.apps.transfer.checks import require_filters
from porter.apps.transfer.source import Features
from porter.apps.transfer.sources.descriptor_model import DescriptorModel, planner
from porter.frontend.module_tree import require_mapped, submodules
from porter.imaging.presets import PixelEncoding
from porter.ir.graph import Value
from porter.ir.options import Options
from porter.ir.registry import Registry
from porter.layer_maps import default_registry
from porter.torch7 import TorchObject, build

Array = npt.NDArray[Any]
Load = Callable[[], tuple[Array, "Array | None"]]
"""Reads filters kH×kW×I×O and a bias of a convolution."""
Builders = Mapping[str, Callable[[], TorchObject]]
"""What builds the module of each layer of a chain, by name, in order."""


def chain(builders: Builders) -> Callable[[Sequence[str]], TorchObject]:
    """An nn.Sequential of named modules, as far as the layers that are asked for need it."""

    def tree(layers: Sequence[str]) -> TorchObject:
        names = list(builders)
        depth = 1 + max(names.index(name) for name in layers)
        return build.sequential(*(named(name, builders[name]()) for name in names[:depth]))

    return tree


def named(name: str, module: TorchObject) -> TorchObject:
    """The module, called `name`."""
    module.fields["name"] = name
    return module


def loaded_convolution(
    name: str, load: Load, stride: int = 1, pad: int = 0, groups: int = 1
) -> TorchObject:
    """A convolution with the weights that `load` reads. Raises WeightError."""
    weight, bias = load()
    require_filters(name, weight, bias)
    dtype = np.float64 if weight.dtype == np.float64 else np.float32
    filters = weight.astype(dtype).transpose(3, 2, 0, 1)
    shift = None if bias is None else bias.astype(dtype)
    return build.convolution(filters, shift, (stride, stride), (pad, pad), groups)


def layer_paths(root: TorchObject) -> dict[str, str]:
    """Torch path by layer name, then every path by itself. The first of equal names counts."""
    modules = [(path, module) for path, module in submodules(root) if path]
    by_name: dict[str, str] = {}
    for path, module in modules:
        name = module.get("name")
        if isinstance(name, str) and name:
            by_name.setdefault(name, path)
    paths = {path: path for path, _ in modules if path not in by_name}
    return by_name | paths


@dataclass(frozen=True)
class ModuleSource:
    """A module tree, or what is built as one once layers are asked for.

    `tree` gives a tree that holds `layers` by name; `aliases` are second names of some;
    `preprocesses` says that the network's own first layer makes its numbers of plain colours.
    """

    what: str
    preprocessing: PixelEncoding | None
    names: tuple[str, ...]
    tree: Callable[[Sequence[str]], TorchObject]
    aliases: Mapping[str, str] = field(default_factory=dict)
    preprocesses: bool = False
    registry: Registry = field(default_factory=default_registry)
    options: Options = field(default_factory=Options)

    def build(self, layers: Sequence[str], pooling: str, padding: str, dtype: str) -> Features:
        """Features of the network's numbers by name.

        Raises WeightError for unfit weights, WalkError where the model cannot be walked.
        """
        from porter.runtime.runner import Variables, run

        names = {name: self.aliases.get(name, name) for name in layers}
        root = self.tree(list(names.values()))
        require_mapped(root, self.registry)
        by_name = layer_paths(root)
        paths = {name: by_name[module] for name, module in names.items()}
        model = DescriptorModel(root, self.registry, self.options, pooling=pooling, padding=padding)
        planned = planner(model, tuple(dict.fromkeys(paths.values())))
        planned(None)
        variables = Variables(dtype)

        def features(x: Any) -> dict[str, Any]:
            size = tuple(x.shape[1:3])
            layout = planned(None if None in size or x.shape[0] is None else tuple(x.shape[:3]))
            graph = layout.graph
            assert isinstance(graph.inputs, Value)
            assert isinstance(graph.outputs, dict)
            outputs = run(layout, {graph.inputs.id: x}, variables)
            values = {path: value.id for path, value in graph.outputs.items()}  # type: ignore[union-attr]
            return {name: outputs[values[path]] for name, path in paths.items()}

        return features
