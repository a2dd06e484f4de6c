"""A descriptor that is a Torch module tree: porter's own walk, ended at the deepest layer needed.

Layers are asked for by the `name` field of their modules, which loadcaffe gives every one, or by
Torch path (`1`, `3.2`). The features of a layer are what its module returned, also where the next
one overwrites them. Files of other formats, whose layers are those of Torch, become module trees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from layer_maps import default_registry
from layer_maps.convolution import SpatialConvolution
from porter.apps.transfer.checks import OTHER_ARCHITECTURE, require_filters, require_sound
from porter.apps.transfer.source import Features
from porter.errors import ShapeMismatch, UsageError, WeightError
from porter.frontend.inputs import hint_of
from porter.frontend.memory import TorchTensor
from porter.frontend.module_tree import require_mapped, submodules
from porter.frontend.walker import Model, Walk
from porter.imaging.presets import PixelEncoding
from porter.ir.graph import Graph, Shape, TensorType, Value, merge
from porter.ir.layer_map import LayerMap
from porter.ir.layout import Plan, plan
from porter.ir.nested import Nested, map_leaves
from porter.ir.options import Options
from porter.ir.registry import Registry
from porter.torch7 import TorchObject, build

Array = npt.NDArray[Any]
Load = Callable[[], tuple[Array, "Array | None"]]
"""Reads filters kH×kW×I×O and a bias of a convolution."""
Builders = Mapping[str, Callable[[], TorchObject]]
"""What builds the module of each layer of a chain, by name, in order."""

SIZES = ((448, 416), (480, 544))
"""Heights and widths of two walks, which show that the layers are the same for any size."""
MAX, AVERAGE = "SpatialMaxPooling", "SpatialAveragePooling"


# Trees ------------------------------------------------------------------------------------------


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


# Layers as they are asked for -------------------------------------------------------------------


class DescriptorConvolution(SpatialConvolution):
    """A convolution that will be differentiated.

    TensorFlow on CPU has no gradient of groups in float64, and a slow one of explicit padding.
    """

    apart = True

    def correlation(
        self,
        tf: Any,
        x: Any,
        filters: Any,
        stride: tuple[int, ...],
        pads: tuple[tuple[int, int], ...],
    ) -> Any:
        padding = self.named(pads, stride)
        if padding is None:
            x = tf.pad(x, [[0, 0], *map(list, pads), [0, 0]])
        return tf.nn.conv2d(x, filters, [1, *stride, 1], padding or "VALID")


class SameConvolution(DescriptorConvolution):
    """A convolution with TensorFlow's padding SAME in the place of its own."""

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) == 4 and x[1] == self.planes, f"takes N×{self.planes}×H×W", x)
        rows, columns = (-(-size // step) for size, step in zip(x[2:], self.stride, strict=True))
        return (x[0], self.output_planes(), rows, columns)

    def first_stride(self) -> tuple[int, ...]:
        return self.stride

    def named(self, pads: tuple[tuple[int, int], ...], stride: tuple[int, ...]) -> str | None:
        return "SAME"


@dataclass
class DescriptorModel(Model):
    """A module tree whose poolings and convolutions are those that were asked for."""

    pooling: str = "as-saved"
    padding: str = "as-saved"

    def op(self, module: TorchObject) -> LayerMap:
        """The layer map of a module. Raises WeightError for filters that describe nothing."""
        if module.index not in self.ops:
            changed = with_pooling(module, self.pooling)
            if self.handler(changed) is SpatialConvolution:
                self.ops[module.index] = self.convolution(changed)
            else:
                super().op(changed)
            require_sound_layer(module, self.ops[module.index])
        return self.ops[module.index]

    def convolution(self, module: TorchObject) -> LayerMap:
        """A convolution with the padding that was asked for."""
        if self.padding == "same":
            return SameConvolution.from_torch(module, self.options)
        if self.padding == "valid":
            fields = {key: value for key, value in module.fields.items() if key != "padding"}
            module = replace(module, fields=fields | {"padW": 0.0, "padH": 0.0})
        return DescriptorConvolution.from_torch(module, self.options)


def with_pooling(module: TorchObject, pooling: str) -> TorchObject:
    """The module, with `max` or `average` in the place of another pooling."""
    family, _, name = module.typename.rpartition(".")
    kind = {"max": MAX, "average": AVERAGE}.get(pooling, name)
    if name not in (MAX, AVERAGE) or name == kind:
        return module
    # torch/nn's pooling, as neural-style puts it in the place of the saved one.
    fields = module.fields | {"divide": True, "count_include_pad": False}
    return replace(module, typename=f"{family}.{kind}", fields=fields)


def require_sound_layer(module: TorchObject, op: LayerMap) -> None:
    """Raise WeightError for a convolution whose filters or bias describe nothing."""
    parameters = op.params()
    weight, bias = parameters.get("weight"), parameters.get("bias")
    if weight is not None and weight.axes == "OIHW":
        require_sound(module.get("name"), weight.array, None if bias is None else bias.array)


# Walking ----------------------------------------------------------------------------------------


class Reached(BaseException):
    """The walk has come to the last of the layers; no error, so that nothing catches it."""


class PartialWalk(Walk):
    """A walk that ends once every one of some modules was called."""

    def __init__(self, model: Model, paths: Sequence[str]) -> None:
        super().__init__(model)
        self.missing = set(paths)
        self.reached: dict[str, Nested[Value]] = {}

    def __call__(self, module: TorchObject, x: Nested[Value], at: str = "") -> Nested[Value]:
        path = f"{self.path}.{at}" if self.path and at else self.path or at
        output = super().__call__(module, x, at)
        if path in self.missing:
            if not isinstance(output, Value) or output.type.rank != 4:
                raise ShapeMismatch(
                    "the output of a descriptor's layer is images N×C×H×W",
                    where=f"{path or 'the root'} ({module.typename})",
                    received=str(output.type) if isinstance(output, Value) else "a table",
                )
            self.missing.remove(path)
            self.reached[path] = self.resolve(output)
            if not self.missing:
                raise Reached
        return output

    def call_op(self, op: LayerMap, inputs: list[TorchTensor]) -> tuple[Value, ...]:
        """Append a node. Raises WeightError for a convolution of another number of planes."""
        if isinstance(op, DescriptorConvolution) and inputs[0].value.type.rank == 4:
            planes = inputs[0].value.type.shape[1]
            if planes != op.planes:
                raise WeightError(
                    f"the input of this layer has {planes} planes, its weights are for {op.planes}",
                    where=self.active[-1].get("name"),
                    received="×".join(map(str, op.weight.shape)) + " (out×in×height×width)",
                    hint=OTHER_ARCHITECTURE,
                )
        return super().call_op(op, inputs)

    def graph(self, inputs: Nested[TensorType]) -> Graph:
        """The graph up to the last of the layers, with their outputs by path."""
        values = map_leaves(self.new_value, inputs)
        try:
            self(self.model.root, values)
        except Reached:
            return Graph(values, tuple(self.nodes), dict(self.reached), tuple(self.calls))
        raise UsageError("the model never calls " + ", ".join(sorted(self.missing)))


def planner(model: Model, paths: tuple[str, ...]) -> Callable[[tuple[int, int, int] | None], Plan]:
    """Plans of the part that leads to `paths`, by batch, height and width; None: for any."""
    hint = hint_of(model)
    planes = (hint.shape[1] if hint is not None and hint.rank == 4 else None) or 3

    def walked(batch: int, height: int, width: int) -> Graph:
        walk = partial(PartialWalk, paths=paths)
        return model.walk_with(walk, TensorType((batch, planes, height, width)))  # type: ignore[arg-type]

    @cache
    def planned(size: tuple[int, int, int] | None) -> Plan:
        if size is not None:
            return plan(walked(*size))
        graph = merge(walked(1, *SIZES[0]), walked(2, *SIZES[1]))
        if graph is None:
            raise ShapeMismatch("the model's layers depend on the size of the image")
        return plan(graph)

    return planned


@dataclass(frozen=True)
class ModuleSource:
    """A module tree, or what is built as one once layers are asked for.

    `tree` gives a tree that holds `layers` by name; `aliases` are second names of some.
    """

    what: str
    preprocessing: PixelEncoding | None
    names: tuple[str, ...]
    tree: Callable[[Sequence[str]], TorchObject]
    aliases: Mapping[str, str] = field(default_factory=dict)
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
