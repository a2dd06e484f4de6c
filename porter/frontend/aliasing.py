"""Nodes that read memory in another way than it was written; no Torch module stands behind them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from porter.ir.capabilities import Mergeable
from porter.ir.declared import Declared
from porter.ir.fields import Array, raw
from porter.ir.graph import Shape, TensorType, Types
from porter.ir.layer_map import LayerMap
from porter.ir.layout import Layout, Layouts, NotDynamic, OpContext, size


class Reinterpret(LayerMap, Mergeable):
    """The same elements in another shape."""

    shape = raw("shape")
    is_view = True

    def output_shape(self, x: Shape) -> Shape:
        self.require(math.prod(x) == math.prod(self.shape), f"sees {self.shape} elements", x)
        return tuple(self.shape)

    def merged(self, other: object) -> LayerMap | None:
        """Shapes may differ in sizes: what is emitted reads them from the graph's types."""
        same = isinstance(other, Reinterpret) and len(self.shape) == len(other.shape)
        return self if same else None

    def reference(self, x: Array) -> Array:
        return x.reshape(self.shape)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.reshape(x, open_sizes(tf, x, at.inputs[0], at.outputs[0]))


def open_sizes(tf: Any, x: Any, input: TensorType, output: TensorType) -> list[Any]:
    """The sizes of `output`, a reshape of `x`; the open ones are the open ones of `x`, in order.

    Raises NotDynamic where they cannot be: where two open axes were made one.
    """
    target: list[Any] = list(output.shape)
    unknown = [axis for axis, extent in enumerate(output.shape) if extent is None]
    if len(unknown) > 1:
        sources = [axis for axis, extent in enumerate(input.shape) if extent is None]
        if between(input) != between(output):
            raise NotDynamic(f"a reshape of {input} to {output} has more than one free size")
        for axis, source in zip(unknown[:-1], sources, strict=False):
            target[axis] = size(tf, x, source)
    if unknown:
        target[unknown[-1]] = -1
    return target


def between(type: TensorType) -> list[int]:
    """How many elements the fixed sizes before, between and behind the open ones make."""
    products = [1]
    for extent in type.shape:
        if extent is None:
            products.append(1)
        else:
            products[-1] *= extent
    return products


class Patchwork(LayerMap):
    """Elements of several tensors, put together as they lie in memory.

    `elements` says for each element of the output which it is of the inputs, one behind the other.
    """

    elements = raw("elements")

    def output_types(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (TensorType(self.elements.shape, inputs[0].dtype),)

    def same_as(self, other: Declared) -> bool:
        return isinstance(other, Patchwork) and np.array_equal(self.elements, other.elements)

    def reference(self, *xs: Array) -> Array:
        picked: Array = np.concatenate([x.ravel() for x in xs])[self.elements]
        return picked

    def apply(self, tf: Any, *xs: Any, at: OpContext) -> Any:
        flat = [tf.reshape(x, [-1]) for x in xs]
        whole = tf.concat(flat, axis=0) if len(flat) > 1 else flat[0]
        return tf.reshape(tf.gather(whole, self.elements.ravel().tolist()), self.elements.shape)


class MakeBatch(LayerMap):
    """A sample as a batch of one, in the same memory."""

    is_view = True

    def output_shape(self, x: Shape) -> Shape:
        return (1, *x)

    def reference(self, x: Array) -> Array:
        return x[None]

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.expand_dims(x, at.output_layouts[0].axis(0))

    def layouts(self, available: Layouts, inputs: Types, outputs: Types) -> tuple[Layouts, Layouts]:
        order = (0, *(axis + 1 for axis in available[0].order))
        return available, (Layout(order, available[0].flat),)
