"""Arithmetic over the tensors of a table.

Source: torch/nn CAddTable.lua, CSubTable.lua, CMulTable.lua, CDivTable.lua, CMaxTable.lua,
CMinTable.lua, MM.lua, MV.lua; dpnn CAddTensorTable.lua; fairseq BeamableMM.lua;
waifu2x ScaleTable.lua.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from porter.layer_maps.slices import ReducedStack
from porter.layer_maps.table import table, table_of_tensors
from porter.maps import (
    Accepts,
    Array,
    BadTable,
    Field,
    HasKerasLayer,
    HintsInputs,
    LayerMap,
    Layouts,
    Nested,
    OpContext,
    ReadsTable,
    Shape,
    TensorType,
    TorchObject,
    Types,
    Value,
    Walk,
    flag,
    register,
    structure,
    torch_order,
)


class TableArithmetic(LayerMap, ReadsTable):
    """An operation over all tensors, element by element.

    The shapes may differ as long as the numbers of elements agree, because Torch walks through the
    elements in order: the output has the shape of the first.
    """

    accepts = Accepts.ELEMENTWISE
    takes_table = True
    reads: ClassVar[int | None] = None
    """How many tensors are read; Torch ignores those behind them."""
    reduction: ClassVar[str] = ""
    """TensorFlow's function that does the same along an axis of one tensor, if there is one."""
    running: Field[tuple[int, ...]] = Field(lambda module: (), ())
    """Positions of entries that are the tensor which the result is computed in."""

    def output_shape(self, *shapes: Shape) -> Shape:
        self.require(len(shapes) >= (self.reads or 1), f"takes {self.reads} tensors", *shapes)
        agree = len({math.prod(shape) for shape in shapes}) == 1
        self.require(agree, "takes tensors of one size", *shapes)
        return shapes[0]

    def layouts(self, available: Layouts, inputs: Types, outputs: Types) -> tuple[Layouts, Layouts]:
        if len({each.shape for each in inputs}) == 1:
            return super().layouts(available, inputs, outputs)
        return tuple(torch_order(each.rank) for each in inputs), (torch_order(outputs[0].rank),)

    def fed_own_output(self, positions: tuple[int, ...]) -> LayerMap:
        """Torch copies the first tensor to the output and goes on there: an entry that is the
        output holds the result so far. Entries that are not read do not matter.
        """
        running = tuple(position for position in positions if position > 0)
        return self.evolve(running=running) if running else self

    def on_stacked(self) -> LayerMap | None:
        plain = self.reduction and not self.running
        return ReducedStack(reduction=self.reduction) if plain else None

    @abc.abstractmethod
    def reference_step(self, total: Array, x: Array) -> Array:
        """One more tensor in NumPy."""

    @abc.abstractmethod
    def step(self, tf: Any, total: Any, x: Any) -> Any:
        """One more tensor in TensorFlow."""

    def reference(self, *xs: Array) -> Array:
        total = xs[0]
        for position, x in list(enumerate(xs))[1 : self.reads]:
            entry = total if position in self.running else x.reshape(total.shape)
            total = self.reference_step(total, entry)
        return total

    def apply(self, tf: Any, *xs: Any, at: OpContext) -> Any:
        total = xs[0]
        for position, x in list(enumerate(xs))[1 : self.reads]:
            if position in self.running:
                x = total
            elif at.inputs[position].shape != at.inputs[0].shape:
                x = tf.reshape(x, tf.shape(xs[0]))
            total = self.step(tf, total, x)
        return total


class KerasMerge(TableArithmetic, HasKerasLayer):
    """Keras merges the tensors that are read by a layer of its own."""

    merge: ClassVar[str]

    def keras(self, k: Any, *xs: Any, at: OpContext) -> Any:
        read = xs[: self.reads]
        alike = len({type.shape for type in at.inputs[: self.reads]}) == 1
        fits = alike and len(read) > 1 and not self.running
        return k(self.merge, *read) if fits else None


@register("nn.CAddTable")
class CAddTable(KerasMerge):
    """Sum of all tensors. In place, Torch writes into the first."""

    merge = "Add"
    reduction = "reduce_sum"
    inplace = flag("inplace")

    def reference_step(self, total: Array, x: Array) -> Array:
        return total + x

    def step(self, tf: Any, total: Any, x: Any) -> Any:
        return tf.add(total, x)


@register("nn.CSubTable")
class CSubTable(KerasMerge):
    """First tensor minus second."""

    merge = "Subtract"
    reads = 2

    def reference_step(self, total: Array, x: Array) -> Array:
        return total - x

    def step(self, tf: Any, total: Any, x: Any) -> Any:
        return tf.subtract(total, x)


@register("nn.CMulTable")
class CMulTable(KerasMerge):
    """Product of all tensors."""

    merge = "Multiply"
    reduction = "reduce_prod"

    def reference_step(self, total: Array, x: Array) -> Array:
        return total * x

    def step(self, tf: Any, total: Any, x: Any) -> Any:
        return tf.multiply(total, x)


@register("nn.CDivTable")
class CDivTable(TableArithmetic):
    """First tensor divided by the second; by zero gives infinity or NaN, as in Torch."""

    reads = 2

    def reference_step(self, total: Array, x: Array) -> Array:
        return total / x

    def step(self, tf: Any, total: Any, x: Any) -> Any:
        return tf.divide(total, x)


@register("nn.CMaxTable")
class CMaxTable(TableArithmetic):
    """Largest of all tensors; NaN propagates from the first only: no comparison with it holds."""

    reduction = "reduce_max"

    def reference_step(self, total: Array, x: Array) -> Array:
        return np.where(x > total, x, total)

    def step(self, tf: Any, total: Any, x: Any) -> Any:
        # tf.maximum would take a NaN from any tensor and share the gradient of equal ones.
        return tf.where(tf.greater(x, total), x, total)


@register("nn.CMinTable")
class CMinTable(TableArithmetic):
    """Smallest of all tensors; NaN propagates from the first only."""

    reduction = "reduce_min"

    def reference_step(self, total: Array, x: Array) -> Array:
        return np.where(x < total, x, total)

    def step(self, tf: Any, total: Any, x: Any) -> Any:
        return tf.where(tf.less(x, total), x, total)


@structure("nn.CAddTensorTable")
def add_tensor_table(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """{a, {b, c}} becomes {a + b, a + c}."""
    pair = table(module, x)
    if len(pair) != 2 or not isinstance(pair[0], Value):
        raise BadTable(f"{module.typename} should be given a tensor and a table of tensors")
    first, others = pair[0], table_of_tensors(module, pair[1])
    return [walk.emit(CAddTable(), first, other) for other in others]


@register("nn.MM", "nn.BeamableMM")
class MM(LayerMap, HintsInputs):
    """Matrix product of two N×C or B×N×C tensors, either of them transposed first.

    fairseq's nn.BeamableMM reads one of `beam` equal second tensors, which gives the same.
    """

    transpose_first = flag("transA")
    transpose_second = flag("transB")

    def output_shape(self, a: Shape, b: Shape) -> Shape:
        fits = len(a) in (2, 3) and len(a) == len(b) and a[:-2] == b[:-2]
        self.require(fits, "takes two matrices, or two batches of as many", a, b)
        rows, inner = a[:-3:-1] if self.transpose_first else a[-2:]
        other, columns = b[:-3:-1] if self.transpose_second else b[-2:]
        self.require(inner == other, f"multiplies {rows}×{inner} with {other}×{columns}", a, b)
        return (*a[:-2], rows, columns)

    def input_hint_at(
        self, position: int, inputs: Sequence[TensorType | None]
    ) -> TensorType | None:
        """As many rows or columns as the other tensor is multiplied along, in the same batch."""
        other = inputs[1 - position] if len(inputs) == 2 else None
        if other is None or other.rank not in (2, 3):
            return None
        flags = (self.transpose_first, self.transpose_second)
        # Rows of the second tensor and columns of the first are summed over.
        inner = other.shape[-2 if (1 - position == 1) != flags[1 - position] else -1]
        last = (position == 0) != flags[position]
        sides = (None, inner) if last else (inner, None)
        return replace(other, shape=(*other.shape[:-2], *sides))

    def reference(self, a: Array, b: Array) -> Array:
        first = np.swapaxes(a, -1, -2) if self.transpose_first else a
        second = np.swapaxes(b, -1, -2) if self.transpose_second else b
        return first @ second

    def apply(self, tf: Any, a: Any, b: Any, at: OpContext) -> Any:
        return tf.matmul(a, b, transpose_a=self.transpose_first, transpose_b=self.transpose_second)


@register("nn.MV")
class MV(LayerMap, HintsInputs):
    """Matrix times vector, N×C with C or B×N×C with B×C; `trans` transposes the matrix first."""

    transpose = flag("trans")

    def input_hint_at(
        self, position: int, inputs: Sequence[TensorType | None]
    ) -> TensorType | None:
        """A matrix with as many columns as the vector is long, or such a vector; in a batch."""
        other = inputs[1 - position] if len(inputs) == 2 else None
        if other is None or other.rank != 2 + (position == 1):
            return None
        if position == 1:
            columns = other.shape[1 if self.transpose else 2]
            return replace(other, shape=(other.shape[0], columns))
        sides = (other.shape[1], None) if self.transpose else (None, other.shape[1])
        return replace(other, shape=(other.shape[0], *sides))

    def output_shape(self, matrix: Shape, vector: Shape) -> Shape:
        fits = len(matrix) in (2, 3) and len(vector) == len(matrix) - 1
        self.require(
            fits and matrix[:-2] == vector[:-1],
            "takes a matrix and a vector, or a batch of each",
            matrix,
            vector,
        )
        rows, columns = matrix[:-3:-1] if self.transpose else matrix[-2:]
        self.require(columns == vector[-1], f"takes a vector of {columns}", matrix, vector)
        return (*matrix[:-2], rows)

    def reference(self, matrix: Array, vector: Array) -> Array:
        matrix = np.swapaxes(matrix, -1, -2) if self.transpose else matrix
        return (matrix @ vector[..., None])[..., 0]

    def apply(self, tf: Any, matrix: Any, vector: Any, at: OpContext) -> Any:
        return tf.linalg.matvec(matrix, vector, transpose_a=self.transpose)


@register("w2nn.ScaleTable")
class ScaleTable(LayerMap):
    """x · scale, where `scale` (N×C×1×1) is repeated over the axes in which it has size 1."""

    accepts = Accepts.ANY_ORDER

    def output_shape(self, x: Shape, scale: Shape) -> Shape:
        fits = len(x) == len(scale) and all(b in (1, a) for a, b in zip(x, scale, strict=True))
        self.require(fits, "takes a tensor and one that can be repeated over it", x, scale)
        return x

    def reference(self, x: Array, scale: Array) -> Array:
        return x * scale

    def apply(self, tf: Any, x: Any, scale: Any, at: OpContext) -> Any:
        return tf.multiply(x, scale)
