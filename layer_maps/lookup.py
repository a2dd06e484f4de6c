"""Tables of vectors picked by index, and picking slices of a tensor by index.

Source: torch/nn LookupTable.lua, Index.lua; THNN LookupTable.c; rnn LookupTableMaskZero.lua;
fbcunn LookupTableGPU.lua; fbnn FasterLookup.lua; larspars/word-rnn util/GloVeEmbedding.lua.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from porter.layer_maps.gradients import with_gradient_of
from porter.maps import (
    INT,
    Array,
    BadField,
    Field,
    HasKerasLayer,
    HintsInput,
    HintsInputs,
    LayerMap,
    Layouts,
    OpContext,
    Options,
    Shape,
    TakesIndices,
    TensorType,
    TorchObject,
    Types,
    flag,
    integer,
    number,
    optional_integer,
    optional_number,
    param,
    register,
    torch_order,
)


class Lookup(LayerMap, HasKerasLayer, HintsInput, TakesIndices):
    """Row i of `weight` for each index i of a vector C or a matrix N×C: C×O or N×C×O.

    Indices may be Long or real tensors. With `maxNorm`, rows with a larger p-norm (p is `normType`)
    are scaled down to it first. `paddingValue` matters to gradients only. Files of versions before
    4 may have rows with several dimensions.
    """

    weight = param("IO")
    max_norm = optional_number("maxNorm")
    power = number("normType", 2.0)
    first: ClassVar[int]
    """The index of the first row."""
    blank: Field[int | None]
    """The index that gives zeros."""
    padding = integer("paddingValue", 0)
    by_frequency = flag("shouldScaleGradByFreq")
    features_first = flag("featuresInDim2")
    """Whether a batch comes out as N×O×C."""

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        if self.max_norm is not None and self.power <= 0:
            raise BadField(
                f"'normType' of {self.typename} should be positive", received=str(self.power)
            )
        weight = self.weight
        if len(weight.shape) <= 2:
            return self
        axes = "IOPQRS"[: len(weight.shape)]
        return self.evolve(weight=weight.with_array(weight.array, axes))

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) in (1, 2), "takes N×C or C indices", x)
        if self.features_first and len(x) == 2:
            return (x[0], *self.weight.shape[1:], x[1])
        return (*x, *self.weight.shape[1:])

    def output_types(self, *inputs: TensorType) -> Types:
        return (TensorType(self.output_shape(inputs[0].static)),)

    def written_as(self, output: TensorType) -> Shape | None:
        # LookupTable.lua: rows of a matrix of indices, then `self.output = self.output:view(…)`
        if output.rank <= len(self.weight.shape) or self.features_first:
            return None
        return (math.prod(output.static[:2]), *output.static[2:])

    def reference(self, x: Array) -> Array:
        index = x.astype(np.int64)
        filled = np.where(index == self.blank, self.first, index)
        rows = self.weight.array.astype(np.float64)[filled - self.first]
        if self.max_norm is not None:
            norms = (np.abs(rows) ** self.power).sum(axis=-1, keepdims=True) ** (1 / self.power)
            rows = np.where(norms > self.max_norm, rows * (self.max_norm / (norms + 1e-7)), rows)
        rows[index == self.blank] = 0
        return np.moveaxis(rows, -1, 1) if self.features_first and x.ndim == 2 else rows

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        index = tf.cast(x, tf.int64)
        if self.blank is not None:
            blank = tf.equal(index, self.blank)
            index = tf.where(blank, tf.constant(self.first, tf.int64), index)
        rows = self.picked(tf, tf.subtract(index, self.first), at)
        if self.blank is not None:
            for _ in self.weight.shape[1:]:
                blank = tf.expand_dims(blank, -1)
            rows = tf.where(blank, tf.zeros_like(rows), rows)
        return self.arranged(tf, rows, at)

    def arranged(self, tf: Any, rows: Any, at: OpContext) -> Any:
        """Rows of a batch as N×O×C with `featuresInDim2`."""
        if self.features_first and at.inputs[0].rank == 2:
            rows = tf.transpose(rows, [0, 2, 1])
        return rows

    def picked(self, tf: Any, places: Any, at: OpContext) -> Any:
        """Rows of `weight`, counted from 0."""
        weight = at.variable(self.weight)
        if not at.training:
            return self.bounded(tf, tf.gather(weight, places))
        if self.max_norm is not None:
            # Torch overwrites what is too long, so that nothing of that is differentiated.
            used = tf.reshape(places, [-1, 1])
            shorter = self.bounded(tf, tf.gather_nd(weight, used))
            at.update(self.weight, tf.tensor_scatter_nd_update(weight, used, shorter))
        share = self.gradient_share(tf, places, at)
        rows = tf.gather(weight, places)
        return with_gradient_of(tf, rows, tf.multiply(rows, share))

    def gradient_share(self, tf: Any, places: Any, at: OpContext) -> Any:
        """How much of the gradient of each picked row counts: none of `paddingValue`'s.

        With `shouldScaleGradByFreq` one part in as many as the row was picked.
        """
        share = tf.cast(tf.not_equal(places, self.padding - 1), at.dtype)
        if self.by_frequency:
            once = tf.ones_like(tf.reshape(places, [-1]), at.dtype)
            count = tf.math.unsorted_segment_sum(
                once, tf.reshape(places, [-1]), self.weight.shape[0]
            )
            share = tf.divide(share, tf.gather(count, places))
        for _ in self.weight.shape[1:]:
            share = tf.expand_dims(share, -1)
        return share

    def bounded(self, tf: Any, rows: Any) -> Any:
        """Rows scaled down to `maxNorm`, if there is one."""
        if self.max_norm is None:
            return rows
        norms = tf.norm(rows, ord=self.power, axis=-1, keepdims=True)
        factor = tf.divide(self.max_norm, tf.add(norms, 1e-7))
        return tf.where(tf.greater(norms, self.max_norm), tf.multiply(rows, factor), rows)

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        turned = self.features_first and at.inputs[0].rank == 2
        plain = len(self.weight.shape) == 2 and self.blank is None and self.max_norm is None
        if turned or not plain or at.inputs[0].rank != 2:
            return None
        # Keras counts from 0: rows that no index picks are put in front.
        rows = np.pad(self.weight.array, ((self.first, 0), (0, 0)))
        return k(
            "Embedding",
            x,
            weights=[at.variable(self.weight.with_array(rows, tag="counted from 0"))],
            input_dim=rows.shape[0],
            output_dim=rows.shape[1],
        )

    def input_hint(self) -> TensorType:
        return TensorType((None, None), INT)

    def index_limit(self, position: int, inputs: Sequence[TensorType]) -> int | None:
        return self.first + self.weight.shape[0] - 1

    def least_index(self) -> int | None:
        outside = self.blank is not None and not self.first <= self.blank <= self.weight.shape[0]
        return None if outside else self.first


@register(
    "nn.LookupTable",
    "nn.LookupTableGPU",
    "nn.FasterLookup",
    "GloVeEmbedding",
    "GloVeEmbeddingFixed",
)
class LookupTable(Lookup):
    """Indices from 1; nn.LookupTableGPU gives zeros for the index `unk_index`, if it has one."""

    first = 1
    blank = optional_integer("unk_index")


@register("nn.LookupTableMaskZero")
class LookupTableMaskZero(Lookup):
    """Indices from 0, where 0 gives zeros: `weight` has one row more than there are indices."""

    first = 0
    blank = Field(lambda _: 0, 0)

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        """Torch sets the first row to zero at every call, and then learns it like any other."""
        weight = at.variable(self.weight)
        others = tf.concat([tf.zeros_like(weight[:1]), weight[1:]], axis=0)
        at.update(self.weight, others)
        return self.arranged(tf, self.picked(tf, tf.cast(x, tf.int64), at), at)


@register("nn.Index")
class Index(LayerMap, HintsInputs, TakesIndices):
    """Slices of the first tensor along `dimension`, picked by the indices in the second."""

    dimension = integer("dimension")

    def input_hint_at(
        self, position: int, inputs: Sequence[TensorType | None]
    ) -> TensorType | None:
        return TensorType((None,), INT) if position == 1 else None

    def index_limit(self, position: int, inputs: Sequence[TensorType]) -> int | None:
        return inputs[0].shape[self.dimension - 1] if position == 1 else None

    def output_shape(self, x: Shape, indices: Shape) -> Shape:
        axis = self.dimension - 1
        self.require(0 <= axis < len(x), f"picks along dimension {self.dimension}", x)
        self.require(len(indices) == 1, "takes a vector of indices", indices)
        return (*x[:axis], indices[0], *x[axis + 1 :])

    def reference(self, x: Array, indices: Array) -> Array:
        return np.take(x, indices.astype(np.int64) - 1, axis=self.dimension - 1)

    def apply(self, tf: Any, x: Any, indices: Any, at: OpContext) -> Any:
        places = tf.subtract(tf.cast(indices, tf.int64), 1)
        return tf.gather(x, places, axis=at.axis(self.dimension - 1))

    def layouts(self, available: Layouts, inputs: Types, outputs: Types) -> tuple[Layouts, Layouts]:
        layout = available[0] if available[0].flat is None else torch_order(inputs[0].rank)
        return (layout, torch_order(inputs[1].rank)), (layout,)
