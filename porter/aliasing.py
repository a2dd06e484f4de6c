"""What is left of a value when a layer overwrote its memory or resized its tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from porter.fields import Array, raw
from porter.graph import Shape, TensorType, Value
from porter.layer import LayerMap
from porter.layout import Layout, Site


@dataclass(frozen=True)
class Overwritten:
    """Memory was overwritten through a tensor of another shape."""

    by: str
    now: Value


class Reinterpret(LayerMap):
    """The same elements in another shape; no Torch module stands behind it."""

    shape = raw("shape")

    def output_shape(self, x: Shape) -> Shape:
        self.require(math.prod(x) == math.prod(self.shape), f"sees {self.shape} elements", x)
        return tuple(self.shape)

    def reference(self, x: Array) -> Array:
        return x.reshape(self.shape)

    def apply(self, tf: Any, x: Any, at: Site) -> Any:
        return at.reshape(tf, x)


class MakeBatch(LayerMap):
    """A sample as a batch of one, in the same memory; no Torch module stands behind it."""

    is_view = True

    def output_shape(self, x: Shape) -> Shape:
        return (1, *x)

    def reference(self, x: Array) -> Array:
        return x[None]

    def apply(self, tf: Any, x: Any, at: Site) -> Any:
        return tf.expand_dims(x, at.output_layouts[0].axis(0))

    def layouts(
        self,
        given: tuple[Layout, ...],
        inputs: tuple[TensorType, ...],
        outputs: tuple[TensorType, ...],
    ) -> tuple[tuple[Layout, ...], tuple[Layout, ...]]:
        order = (0, *(axis + 1 for axis in given[0].order))
        return given, (Layout(order, given[0].flat),)
