"""A module tree as a descriptor walks it: with adapted layers, up to the deepest one needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from porter.apps.transfer.checks import OTHER_ARCHITECTURE, require_sound
from porter.errors import ShapeMismatch, UsageError, WeightError
from porter.frontend.inputs import hint_of
from porter.frontend.memory import TorchTensor
from porter.frontend.walker import Model, Walk
from porter.ir.graph import Graph, Shape, TensorType, Value
from porter.ir.layer_map import LayerMap
from porter.ir.layout import Plan, plan
from porter.ir.merge import merge
from porter.ir.nested import Nested, map_leaves
from porter.layer_maps.convolution import (
    SpatialConvolution,
    SpatialCorrelation,
    WeightedCorrelation,
)
from porter.layer_maps.windows import SlidesOverImages
from porter.torch7 import TorchObject

SIZES = ((448, 416), (480, 544))
"""Heights and widths of two walks, which show that the layers are the same for any size."""
MAX, AVERAGE = "SpatialMaxPooling", "SpatialAveragePooling"


class DescriptorConvolution(SpatialCorrelation, WeightedCorrelation, SlidesOverImages):
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
