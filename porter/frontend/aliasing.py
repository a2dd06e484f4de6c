"""Who sees which memory, and what is left of a value when a layer overwrote or resized it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from porter.ir.fields import Array, raw
from porter.ir.graph import Node, Shape, TensorType, Value
from porter.ir.layer_map import LayerMap
from porter.ir.layout import Layout, OpContext


@dataclass(frozen=True)
class Overwritten:
    """Memory was overwritten through a tensor of another shape."""

    by: str
    now: Value


class AliasTracker:
    """Which elements of its memory each value sees.

    A view only moves elements, so that its reference, run on their numbers, tells which it sees.
    That is done only for memory of which some view sees a part, or an element twice: all other
    views see all elements in order.
    """

    def __init__(self) -> None:
        self.made: dict[int, tuple[Node, int]] = {}
        self.divided: set[int] = set()
        self.known: dict[int, Array] = {}

    def add(self, node: Node) -> None:
        """Take note of a node whose outputs share the memory of its first input."""
        for position, value in enumerate(node.outputs):
            self.made[value.id] = (node, position)
            if math.prod(value.shape) != math.prod(node.inputs[0].shape):
                self.divided.add(value.storage)

    def elements(self, value: Value) -> Array:
        """The numbers of the elements that a value sees, in its shape."""
        if value.id not in self.known:
            self.known[value.id] = self._elements(value)
        return self.known[value.id]

    def _elements(self, value: Value) -> Array:
        if value.id not in self.made:
            return np.arange(math.prod(value.shape)).reshape(value.shape)
        node, position = self.made[value.id]
        seen = self.elements(node.inputs[0])
        if node.op.inplace:
            return seen
        others = (np.zeros(each.shape, np.int64) for each in node.inputs[1:])
        result = node.op.reference(seen, *others)
        return result[position] if isinstance(result, tuple) else result

    def meet(self, one: Value, other: Value) -> bool:
        """Whether two values of one memory have elements in common."""
        if one.storage not in self.divided:
            return True
        return bool(np.intersect1d(self.elements(one), self.elements(other)).size)

    def agree(self, one: Value, other: Value, as_shaped: bool = True) -> bool:
        """Whether two values of one memory see the same elements in order, and in one shape."""
        if as_shaped and one.type != other.type:
            return False
        if one.storage not in self.divided:
            return True
        return np.array_equal(self.elements(one).ravel(), self.elements(other).ravel())

    def scattered(self, value: Value) -> bool:
        """Whether the elements do not lie one behind the other (Torch: not contiguous)."""
        if value.storage not in self.divided:
            return False
        return bool(np.any(np.diff(self.elements(value).ravel()) != 1))


class Reinterpret(LayerMap):
    """The same elements in another shape; no Torch module stands behind it."""

    shape = raw("shape")
    is_view = True

    def output_shape(self, x: Shape) -> Shape:
        self.require(math.prod(x) == math.prod(self.shape), f"sees {self.shape} elements", x)
        return tuple(self.shape)

    def reference(self, x: Array) -> Array:
        return x.reshape(self.shape)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return at.reshape(tf, x)


class MakeBatch(LayerMap):
    """A sample as a batch of one, in the same memory; no Torch module stands behind it."""

    is_view = True

    def output_shape(self, x: Shape) -> Shape:
        return (1, *x)

    def reference(self, x: Array) -> Array:
        return x[None]

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.expand_dims(x, at.output_layouts[0].axis(0))

    def layouts(
        self,
        given: tuple[Layout, ...],
        inputs: tuple[TensorType, ...],
        outputs: tuple[TensorType, ...],
    ) -> tuple[tuple[Layout, ...], tuple[Layout, ...]]:
        order = (0, *(axis + 1 for axis in given[0].order))
        return given, (Layout(order, given[0].flat),)
