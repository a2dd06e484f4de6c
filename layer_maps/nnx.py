"""Modules of nnx: contrast normalisation, padding, and a classifier at every pixel.

Source: clementfarabet/lua---nnx SpatialNormalization.lua, SpatialPadding.lua,
SpatialClassifier.lua.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from porter.layer_maps.axes import Unsqueeze
from porter.layer_maps.composites import inside
from porter.layer_maps.containers import one_tensor
from porter.layer_maps.padding import Border
from porter.layer_maps.passthrough import Same
from porter.layer_maps.table_math import CDivTable, CSubTable
from porter.maps import (
    Accepts,
    Array,
    HintsInput,
    LayerMap,
    Nested,
    OpContext,
    Shape,
    ShapeMismatch,
    Skippable,
    TensorType,
    TorchObject,
    Value,
    Walk,
    integer,
    number,
    optional_number,
    register,
    size,
    structure,
)

# SpatialNormalization -----------------------------------------------------------------------------


@structure("nn.SpatialNormalization")
def spatial_normalization(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """(x − mean) / max(deviation, threshold) of one image C×H×W or H×W.

    `convo` sums a neighbourhood, `convostd` that of squares; both are divided by the response of
    `convo` to ones. The root is taken before that division. Without `fixedThres` the threshold is
    the mean deviation of the whole image, at least 0.001.
    """
    planes = module.integer("nfeatures")
    image = one_tensor(module, walk.emit(SingleImage(planes=planes), one_tensor(module, x)))
    if image.type.rank == 2:
        image = one_tensor(module, walk.emit(Unsqueeze(position=1), image))
    # A copy, as in Torch: the next call of `convo` overwrites its output.
    (weights,) = walk.run(Same(), estimated(walk, module, "convo", walk.emit(Ones(), image)))
    mean = walk.emit(CDivTable(), estimated(walk, module, "convo", image), weights)
    centred = walk.emit(CSubTable(), image, one_tensor(module, mean))
    squares = walk(module.object("squareMod"), centred, at="squareMod")
    spread = estimated(walk, module, "convostd", squares)
    root = one_tensor(module, walk(module.object("sqrtMod"), spread, at="sqrtMod"))
    deviation = walk.emit(CDivTable(), root, weights)
    division = ThresholdedDivision(threshold=optional_number("fixedThres").read(module))
    return walk.emit(division, one_tensor(module, centred), one_tensor(module, deviation))


def estimated(walk: Walk, module: TorchObject, name: str, x: Nested[Value]) -> Value:
    """The output of the net in a field."""
    return one_tensor(module, walk(module.object(name), x, at=name))


class SingleImage(LayerMap, Skippable, HintsInput):
    """x, which should be one image C×H×W, or H×W of a single plane."""

    planes = integer("planes")
    accepts = Accepts.ELEMENTWISE
    is_view = True

    def output_shape(self, x: Shape) -> Shape:
        fits = (len(x) == 3 and x[0] == self.planes) or (len(x) == 2 and self.planes == 1)
        self.require(fits, f"takes one image of {self.planes} feature planes, C×H×W", x)
        return x

    def reference(self, x: Array) -> Array:
        return x

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return x

    def is_identity(self) -> bool:
        return True

    def input_hint(self) -> TensorType:
        return TensorType((self.planes, None, None))


class Ones(LayerMap):
    """Ones in the shape of x."""

    accepts = Accepts.ELEMENTWISE

    def reference(self, x: Array) -> Array:
        return np.ones_like(x)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.ones_like(x)


class ThresholdedDivision(LayerMap):
    """x / d, or x / t where d is at most t: `threshold`, or max(mean of all d, 0.001)."""

    threshold = optional_number("threshold")
    accepts = Accepts.ANY_ORDER

    def output_shape(self, x: Shape, deviation: Shape) -> Shape:
        self.require(x == deviation, "takes a deviation for each element", x, deviation)
        return x

    def reference(self, x: Array, deviation: Array) -> Array:
        least = max(deviation.mean(), 1e-3) if self.threshold is None else self.threshold
        return x / np.where(deviation > least, deviation, x.dtype.type(least))

    def apply(self, tf: Any, x: Any, deviation: Any, at: OpContext) -> Any:
        if self.threshold is None:
            least = tf.maximum(tf.reduce_mean(deviation), tf.constant(1e-3, at.dtype))
        else:
            least = tf.constant(self.threshold, at.dtype)
        return tf.divide(x, tf.where(tf.greater(deviation, least), deviation, least))


# SpatialPadding -----------------------------------------------------------------------------------


@register("nn.SpatialPadding")
class SpatialPadding(Border):
    """`val` around the dimensions `y_dim` and `x_dim` (2 and 3); negative amounts crop."""

    value = number("val", 0.0)
    row_dimension = integer("y_dim", 2)
    column_dimension = integer("x_dim", 3)
    moves = False

    def edges(self) -> Iterator[tuple[int, int, int]]:
        top, bottom, left, right = self.pads
        yield self.row_dimension - 1, top, bottom
        yield self.column_dimension - 1, left, right

    def output_shape(self, x: Shape) -> Shape:
        rows, columns = self.row_dimension, self.column_dimension
        fits = 1 <= rows <= len(x) and 1 <= columns <= len(x) and rows != columns
        self.require(fits, f"pads dimensions {rows} and {columns}", x)
        output = list(x)
        for axis, before, behind in self.edges():
            output[axis] += before + behind
            remaining = x[axis] + min(before, 0) + min(behind, 0)
            self.require(remaining > 0, f"crops {self.pads}: nothing is left", x)
        return tuple(output)

    def is_by_sample(self) -> bool:
        return all(axis > 0 for axis, _, _ in self.edges())

    def reference(self, x: Array) -> Array:
        for axis, before, behind in self.edges():
            x = np.moveaxis(x, axis, 0)
            x = x[max(-before, 0) : len(x) - max(-behind, 0)]
            edge = [(max(before, 0), max(behind, 0)), *[(0, 0)] * (x.ndim - 1)]
            x = np.moveaxis(np.pad(x, edge, constant_values=self.value), 0, axis)
        return x

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        rank = at.inputs[0].rank
        begin, end, added = [0] * rank, [0] * rank, [[0, 0] for _ in range(rank)]
        for torch_axis, before, behind in self.edges():
            axis = at.axis(torch_axis)
            begin[axis], end[axis] = max(-before, 0), min(behind, 0)
            added[axis] = [max(before, 0), max(behind, 0)]
        if any(begin) or any(end):
            to_the_end = sum(1 << axis for axis in range(rank) if end[axis] == 0)
            x = tf.strided_slice(x, begin, end, [1] * rank, end_mask=to_the_end)
        return tf.pad(x, added, constant_values=self.value)


# SpatialClassifier --------------------------------------------------------------------------------


@structure("nn.SpatialClassifier")
def spatial_classifier(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The classifier inside on every pixel of one image K×H×W: N×H×W.

    The pixels are its batch, row by row. Without `spatialOutput` its output H·W×N is left so.
    """
    image = one_tensor(module, x)
    if image.type.rank != 3:
        raise ShapeMismatch("nn.SpatialClassifier takes K×H×W", received=str(image.type))
    rows = walk.emit(PixelRows(), image)
    scores = one_tensor(module, walk(inside(walk, module, "classifier"), rows, at="1"))
    if not module.boolean("spatialOutput", True):
        return scores
    return walk.emit(PixelPlanes(), scores, image)


class PixelRows(LayerMap):
    """K×H×W as H·W×K: a row of features for each pixel."""

    def output_shape(self, x: Shape) -> Shape:
        return (x[1] * x[2], x[0])

    def reference(self, x: Array) -> Array:
        return x.reshape(len(x), -1).T

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.reshape(tf.transpose(x, [1, 2, 0]), [-1, size(tf, x, 0)])


class PixelPlanes(LayerMap):
    """H·W×N as N×H×W, where H and W are those of a second tensor K×H×W."""

    def output_shape(self, x: Shape, image: Shape) -> Shape:
        _, height, width = image
        fits = len(x) == 2 and x[0] == height * width
        self.require(fits, f"makes scores for {height}×{width} pixels", x)
        return (x[1], height, width)

    def reference(self, x: Array, image: Array) -> Array:
        return x.T.reshape(-1, *image.shape[1:])

    def apply(self, tf: Any, x: Any, image: Any, at: OpContext) -> Any:
        pixels = tf.reshape(x, [size(tf, image, 1), size(tf, image, 2), size(tf, x, 1)])
        return tf.transpose(pixels, [2, 0, 1])
