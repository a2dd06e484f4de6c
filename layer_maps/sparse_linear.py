"""Linear layers over sparse inputs: lists of indices and values in place of dense features.

Source: torch/nn SparseLinear.lua, IndexLinear.lua; THNN SparseLinear.c, IndexLinear.c.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.layer_maps.table import table, table_of_tensors
from porter.maps import (
    Array,
    BadField,
    BadTable,
    Field,
    LayerMap,
    Nested,
    OpContext,
    Shape,
    TensorType,
    TorchObject,
    Types,
    Value,
    Walk,
    integer,
    param,
    size,
    structure,
)


def weighted_sum(tf: Any, rows: Any, values: Any) -> Any:
    """Σ_n values[…, n] · rows[…, n, :]."""
    return tf.squeeze(tf.matmul(tf.expand_dims(values, -2), rows), -2)


class SparseLinear(LayerMap):
    """y = W·x + b for each x given as n×2 pairs of index (1-based, repeats add up) and value.

    A table of N such tensors gives N×O, one tensor O; one N×n×2 tensor, as old versions took it,
    gives N×O. `weight` is O×I.
    """

    weight = param("OI", to="IO")
    bias = param("O")
    single = Field(lambda _: False, False)
    """Whether one sample was given by itself; the rule below finds out."""

    def output_shape(self, *shapes: Shape) -> Shape:
        ranks = {len(shape) for shape in shapes}
        fits = ranks == {2} or (ranks == {3} and len(shapes) == 1)
        pairs = all(shape[-1] == 2 for shape in shapes)
        self.require(fits and pairs, "takes pairs of index and value, n×2 or N×n×2", *shapes)
        outputs = self.weight.shape[0]
        if self.single:
            return (outputs,)
        return (shapes[0][0] if ranks == {3} else len(shapes), outputs)

    def reference(self, *xs: Array) -> Array:
        samples = list(xs[0]) if xs[0].ndim == 3 else list(xs)
        out = np.empty((len(samples), self.weight.shape[0]), xs[0].dtype)
        for row, sample in zip(out, samples, strict=True):
            columns = self.weight.array[:, sample[:, 0].astype(np.int64) - 1]
            row[:] = columns @ sample[:, 1] + self.bias.array
        return out[0] if self.single else out

    def apply(self, tf: Any, *xs: Any, at: OpContext) -> Any:
        rows = at.variable(self.weight)
        products = []
        for x in xs:
            indices, values = tf.unstack(x, num=2, axis=-1)
            places = tf.subtract(tf.cast(indices, tf.int64), 1)
            products.append(weighted_sum(tf, tf.gather(rows, places), values))
        out = products[0] if self.single or at.inputs[0].rank == 3 else tf.stack(products)
        return tf.add(out, at.variable(self.bias))


@structure("nn.SparseLinear")
def sparse_linear(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """A linear layer over a table of sparse vectors, or one of them."""
    op = SparseLinear.from_torch(module, walk.model.options)
    if not isinstance(x, Value):
        return walk.emit(op, *table_of_tensors(module, x))
    return walk.emit(op.evolve(single=x.type.rank == 2), x)


def head_columns(module: TorchObject) -> int:
    """`normalize` of nn.IndexLinear: 0, or 4 columns of `weight` that hold no weights."""
    columns = module.integer("normalize", 0)
    if columns not in (0, 4):
        raise BadField(f"'normalize' of {module.typename} is 0 or 4", received=str(columns))
    return columns


class IndexLinear(LayerMap):
    """y = Wᵀ·x + b for sparse x given as keys k and values v; `weight` is I×O.

    Forms: {k, v} gives O; {{k, …}, {v, …}} gives N×O; {k, v, sizes} with all samples in one list
    gives N×O. Key k stands for row k + `offset`, counted from 0.

    With `normalize`, each row of `weight` starts with the largest |v| seen in training, its
    inverse, an unused number and a shift; v becomes sign(v)·min(|v| / largest, 1) + shift.
    """

    weight = param("IO")
    bias = param("P")
    head: Field[int] = Field(head_columns, 0)
    offset = integer("offset", -1)
    form = Field(lambda _: "batch", "batch")
    """What the inputs are: "single", "batch" (all keys, then all values) or "flat"."""

    def output_shape(self, *shapes: Shape) -> Shape:
        outputs = self.bias.shape[0]
        if self.weight.shape[1] != outputs + self.head:
            raise BadField(
                f"'weight' of {self.typename} should have {outputs + self.head} columns",
                received=str(self.weight.shape[1]),
            )
        half = len(shapes) // 2
        keys, values = shapes[:half], shapes[half : 2 * half]
        vectors = all(len(shape) == 1 for shape in shapes)
        self.require(vectors and keys == values, "takes as many keys as values", *shapes)
        if self.form == "single":
            return (outputs,)
        return (shapes[2][0] if self.form == "flat" else half, outputs)

    def output_types(self, *inputs: TensorType) -> Types:
        return (TensorType(self.output_shape(*(each.static for each in inputs))),)

    def reference(self, *xs: Array) -> Array:
        half = len(xs) // 2
        keys, values = list(xs[:half]), list(xs[half : 2 * half])
        if self.form == "flat":
            ends = np.cumsum(xs[2].astype(np.int64))[:-1]
            keys, values = np.split(xs[0], ends), np.split(xs[1], ends)
        out = np.empty((len(keys), self.bias.shape[0]), xs[half].dtype)
        for row, key, value in zip(out, keys, values, strict=True):
            picked = self.weight.array[key.astype(np.int64) + self.offset]
            if self.head:
                bounded = np.where(
                    np.abs(value) > picked[:, 0], np.sign(value), value * picked[:, 1]
                )
                value = bounded + picked[:, 3]
            row[:] = value @ picked[:, self.head :] + self.bias.array
        return out[0] if self.form == "single" else out

    def apply(self, tf: Any, *xs: Any, at: OpContext) -> Any:
        half = len(xs) // 2
        pairs = zip(xs[:half], xs[half : 2 * half], strict=True)
        picked = [self.take(tf, keys, values, at) for keys, values in pairs]
        if self.form == "flat":
            rows, values = picked[0]
            samples = size(tf, xs[2], 0)
            sample = tf.repeat(tf.range(samples), tf.cast(xs[2], tf.int32))
            products = tf.multiply(rows, tf.expand_dims(values, -1))
            out = tf.math.unsorted_segment_sum(products, sample, samples)
        else:
            products = [weighted_sum(tf, rows, values) for rows, values in picked]
            out = products[0] if self.form == "single" else tf.stack(products)
        return tf.add(out, at.variable(self.bias))

    def take(self, tf: Any, keys: Any, values: Any, at: OpContext) -> tuple[Any, Any]:
        """The rows of the keys, and the values to weigh them with."""
        places = tf.add(tf.cast(keys, tf.int64), self.offset)
        rows = tf.gather(at.variable(self.weight), places)
        if not self.head:
            return rows, values
        head, rows = tf.split(rows, [self.head, self.bias.shape[0]], axis=-1)
        largest, inverse, _, shift = tf.unstack(head, num=self.head, axis=-1)
        beyond = tf.greater(tf.abs(values), largest)
        bounded = tf.where(beyond, tf.sign(values), tf.multiply(values, inverse))
        return rows, tf.add(bounded, shift)


@structure("nn.IndexLinear")
def index_linear(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """A linear layer over keys and values, in the forms that `IndexLinear` lists."""
    op = IndexLinear.from_torch(module, walk.model.options)
    entries = table(module, x)
    tensors = [entry for entry in entries if isinstance(entry, Value)]
    if len(entries) == len(tensors) and len(entries) in (2, 3):
        form = "single" if len(entries) == 2 else "flat"
        return walk.emit(op.evolve(form=form), *tensors)
    if tensors or len(entries) != 2:
        raise BadTable(f"{module.typename} should be given keys and values")
    keys, values = (table_of_tensors(module, entry) for entry in entries)
    if len(keys) != len(values):
        raise BadTable(
            f"{module.typename} should be given as many keys as values",
            received=f"{len(keys)} and {len(values)} tensors",
        )
    return walk.emit(op, *keys, *values)
