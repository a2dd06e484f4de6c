"""A Torch classifier as a descriptor: porter's own walk, which ends at the deepest wanted layer.

A layer is asked for by its `name` field, which loadcaffe gives every module, or by its Torch path
(`1`, `3.2`). Its features are what the module returned, also where the next one overwrites them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layer_maps import default_registry
from porter.apps.transfer.checks import require_sound
from porter.errors import ShapeMismatch, UsageError
from porter.frontend.inputs import hint_of
from porter.frontend.model_file import ModelFile, open_model
from porter.frontend.module_tree import submodules
from porter.frontend.walker import Model, Walk
from porter.imaging.presets import VGG, PixelEncoding
from porter.ir.graph import Graph, TensorType, Value, merge
from porter.ir.layout import Plan, plan
from porter.ir.nested import Nested, map_leaves
from porter.ir.options import Options
from porter.torch7 import TorchObject

if TYPE_CHECKING:
    from porter.apps.transfer.descriptor import Opening

SIZES = ((224, 208), (240, 272))
"""Heights and widths of two walks, which tell that the layers are the same for any size."""
CONVOLUTION, MAX, AVERAGE = "SpatialConvolution", "SpatialMaxPooling", "SpatialAveragePooling"


class Reached(BaseException):
    """The walk has come to the last of the wanted layers; no error, so that nothing catches it."""


class PartialWalk(Walk):
    """A walk that ends once every wanted module was called."""

    def __init__(self, model: Model, wanted: Sequence[str]) -> None:
        super().__init__(model)
        self.missing = set(wanted)
        self.reached: dict[str, Nested[Value]] = {}

    def __call__(self, module: TorchObject, x: Nested[Value], at: str = "") -> Nested[Value]:
        path = f"{self.path}.{at}" if self.path and at else self.path or at
        made = super().__call__(module, x, at)
        if path in self.missing:
            if not isinstance(made, Value) or made.type.rank != 4:
                shown = str(made.type) if isinstance(made, Value) else "a table"
                raise ShapeMismatch(
                    "a descriptor's layer makes images N×C×H×W",
                    where=f"{path or 'the root'} ({module.typename})",
                    received=shown,
                )
            self.missing.remove(path)
            self.reached[path] = made
            if not self.missing:
                raise Reached
        return made

    def graph(self, inputs: Nested[TensorType]) -> Graph:
        """The graph up to the last of the wanted layers, with their outputs by path."""
        values = map_leaves(self.new_value, inputs)
        try:
            self(self.model.root, values)
        except Reached:
            return Graph(values, tuple(self.nodes), dict(self.reached), tuple(self.calls))
        raise UsageError("the model never calls " + ", ".join(sorted(self.missing)))


@dataclass(frozen=True)
class TorchSource:
    """A module tree; `paths` gives the Torch path of every name that it has."""

    opened: ModelFile
    options: Options

    @cached_property
    def paths(self) -> dict[str, str]:
        """Torch path by layer name, then every path by itself. The first of equal names counts."""
        found = [(path, module) for path, module in submodules(self.opened.root) if path]
        named: dict[str, str] = {}
        for path, module in found:
            name = module.get("name")
            if isinstance(name, str) and name:
                named.setdefault(name, path)
        return {path: path for path, _ in found} | named

    @property
    def names(self) -> tuple[str, ...]:
        """Names where the modules have some, then paths."""
        own = [name for name, path in self.paths.items() if name != path]
        return (*own, *(name for name, path in self.paths.items() if name == path))

    @property
    def what(self) -> str:
        modules = sum(1 for _ in submodules(self.opened.root))
        return f"Torch's {self.opened.root.typename} of {modules} modules"

    @property
    def preprocessing(self) -> PixelEncoding | None:
        """Caffe's, where the names are those that loadcaffe gives VGG."""
        return VGG if {"conv1_1", "relu1_1"} <= self.paths.keys() else None

    def build(self, wanted: Sequence[str], pooling: str, padding: str, dtype: str) -> Any:
        """Features of the net's numbers by name.

        Raises WeightError for unfit weights, WalkError where the model cannot be walked.
        """
        from porter.runtime.runner import Variables, run

        model = self.opened.model(self.options)
        for path, module in submodules(model.root):
            changed = adapted(module, pooling, padding, path)
            if changed is not module:
                model.ops[module.index] = type(model.op(changed)).from_torch(changed, model.options)
        paths = {name: self.paths[name] for name in wanted}
        planned = planner(model, tuple(dict.fromkeys(paths.values())))
        for node in planned(None).graph.nodes:
            parameters = node.op.params()
            weight, bias = parameters.get("weight"), parameters.get("bias")
            if weight is not None and weight.axes == "OIHW":
                filters = weight.array.transpose(2, 3, 1, 0)
                require_sound(node.path, filters, None if bias is None else bias.array, None)
        variables = Variables(dtype)

        def features(x: Any) -> dict[str, Any]:
            size = tuple(x.shape[1:3])
            layout = planned(None if None in size or x.shape[0] is None else tuple(x.shape[:3]))
            graph = layout.graph
            assert isinstance(graph.inputs, Value)
            assert isinstance(graph.outputs, dict)
            made = run(layout, {graph.inputs.id: x}, variables)
            outputs = {path: value.id for path, value in graph.outputs.items()}  # type: ignore[union-attr]
            return {name: made[outputs[path]] for name, path in paths.items()}

        return features


def planner(model: Model, paths: tuple[str, ...]) -> Callable[[tuple[int, int, int] | None], Plan]:
    """Plans of the part that leads to `paths`, by batch, height and width; None: for any."""
    hint = hint_of(model)
    planes = (hint.shape[1] if hint is not None and hint.rank == 4 else None) or 3

    def walked(batch: int, height: int, width: int) -> Graph:
        walk = partial(PartialWalk, wanted=paths)
        return model.walk_with(walk, TensorType((batch, planes, height, width)))  # type: ignore[arg-type]

    @cache
    def planned(size: tuple[int, int, int] | None) -> Plan:
        if size is not None:
            return plan(walked(*size))
        graph = merge(walked(1, *SIZES[0]), walked(2, *SIZES[1]))
        if graph is None:
            raise ShapeMismatch("the model's layers depend on the size of the picture")
        return plan(graph)

    return planned


def adapted(module: TorchObject, pooling: str, padding: str, path: str) -> TorchObject:
    """The module with the pooling and the padding that was asked for; itself where none is."""
    family, _, name = module.typename.rpartition(".")
    if pooling != "as-saved" and name in (MAX, AVERAGE):
        wanted = AVERAGE if pooling == "average" else MAX
        if wanted != name:
            # torch/nn's pooling, as neural-style puts it in the place of the saved one.
            fields = module.fields | {"divide": True, "count_include_pad": False}
            return replace(module, typename=f"{family}.{wanted}", fields=fields)
    if padding != "as-saved" and name in (CONVOLUTION, f"{CONVOLUTION}MM"):
        kept = {key: value for key, value in module.fields.items() if key != "padding"}
        pads = {
            f"pad{axis}": 0.0 if padding == "valid" else same(module, axis, path) for axis in "WH"
        }
        return replace(module, fields=kept | pads)
    return module


def same(module: TorchObject, axis: str, path: str) -> float:
    """The padding that keeps the size of an image, less what the stride takes."""
    kernel = module.integer(f"k{axis}")
    if kernel % 2 == 0:
        raise UsageError(
            "an even kernel cannot be padded on both sides alike",
            where=f"{path} ({module.typename})",
            received=f"a kernel of {kernel}",
            hint="leave `padding=as-saved`",
        )
    return float(kernel // 2)


def open_torch(path: Path, opening: Opening) -> TorchSource:
    """A `.t7`. Raises T7Error, or UsageError where it holds several modules and none is chosen."""
    opened = open_model(path, opening.registry or default_registry(), opening.select)
    return TorchSource(opened, opening.options)
