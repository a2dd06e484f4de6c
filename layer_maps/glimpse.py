"""Glimpses: crops of growing size around a place in an image, all shrunk to the size of the first.

Source: nicholas-leonard/dpnn SpatialGlimpse.lua.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from porter.layer_maps.resampling import interpolate
from porter.layer_maps.upsampling import interpolated
from porter.maps import (
    Array,
    BadField,
    HintsInputs,
    LayerMap,
    OpContext,
    Options,
    Shape,
    TensorType,
    TorchObject,
    integer,
    number,
    register,
    size,
)

MAX_CROP = 2**15
"""Rows or columns of a crop: published glimpses have some tens."""


@register("nn.SpatialGlimpse")
class SpatialGlimpse(LayerMap, HintsInputs):
    """N×(depth·C)×height×width from {images N×C×H×W, places N×2}; both may lack the batch.

    Crop d is `scale` times as large as crop d − 1, and zero beyond the border. Places are (y, x)
    from −1 to 1. A `scale` of 2 is shrunk by averages, any other by interpolation.
    """

    height = integer("height")
    width = integer("width")
    depth = integer("depth", 3)
    scale = number("scale", 2.0)

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        shrinking = module.get("module")
        averages = isinstance(shrinking, TorchObject) and shrinking.typename.endswith(
            "SpatialAveragePooling"
        )
        if min(self.height, self.width, self.depth) < 1 or averages != (self.scale == 2):
            raise BadField(
                f"{self.typename} should have sizes of at least 1, and an average pooling where "
                "its scale is 2",
                received=f"{self.depth} crops of {self.height}×{self.width}, scale {self.scale:g}",
            )
        if max(self.crops()[-1]) > MAX_CROP:
            raise BadField(f"{self.typename} has crops of more than {MAX_CROP:,} rows or columns")
        return self

    def crops(self) -> list[tuple[int, int]]:
        """Height and width of each crop."""
        sizes = [(self.height, self.width)]
        while len(sizes) < self.depth and max(sizes[-1]) <= MAX_CROP:
            height, width = sizes[-1]
            sizes.append((math.floor(height * self.scale), math.floor(width * self.scale)))
        return sizes

    def output_shape(self, images: Shape, places: Shape) -> Shape:
        fits = len(images) in (3, 4) and places == (*images[:-3], 2)
        self.require(fits, "takes images N×C×H×W and places N×2", images, places)
        if self.scale != 2 and self.depth > 1:
            self.require(min(self.height, self.width) > 1, "interpolates glimpses of at least 2×2")
        for crop in self.crops():
            room = [n + 2 * ((c - 1) // 2) - c for n, c in zip(images[-2:], crop, strict=True)]
            self.require(min(room) >= 0, f"crops {crop[0]}×{crop[1]}, more than there is", images)
        return (*images[:-3], self.depth * images[-3], self.height, self.width)

    def input_hint_at(
        self, position: int, inputs: Sequence[TensorType | None]
    ) -> TensorType | None:
        return TensorType((None, 2) if position == 1 else (None,) * 4)

    def reference(self, images: Array, places: Array) -> Array:
        if images.ndim == 3:
            single: Array = self.reference(images[None], places[None])[0]
            return single
        samples = []
        for image, place in zip(images, places.astype(np.float64), strict=True):
            glimpse = []
            for crop in self.crops():
                window = image
                for axis, (extent, coordinate) in enumerate(zip(crop, place, strict=True), start=1):
                    border = [(0, 0)] * 3
                    border[axis] = ((extent - 1) // 2,) * 2
                    window = np.pad(window, border)
                    room = window.shape[axis] - extent
                    start = math.floor(min(room, max(0, (coordinate + 1) / 2 * room)))
                    window = window.take(range(start, start + extent), axis)
                glimpse.append(self.shrunk(window))
            samples.append(np.concatenate(glimpse))
        return np.stack(samples)

    def shrunk(self, window: Array) -> Array:
        """A crop C×h×w in the size of the first."""
        planes, height, width = window.shape
        if (height, width) == (self.height, self.width):
            return window
        if self.scale != 2:
            return interpolate(interpolate(window, 1, self.height), 2, self.width)
        by_rows = window.reshape(planes, self.height, height // self.height, self.width, -1)
        averages: Array = by_rows.mean(axis=(2, 4))
        return averages

    def apply(self, tf: Any, images: Any, places: Any, at: OpContext) -> Any:
        batched = at.inputs[0].rank == 4
        if not batched:
            images, places = tf.expand_dims(images, 0), tf.expand_dims(places, 0)
        # In double precision, as Lua computes it: the fraction is cut off.
        coordinates = tf.unstack(tf.cast(places, tf.float64), num=2, axis=1)
        glimpses = []
        for level, crop in enumerate(self.crops()):
            window = images
            for axis, (extent, coordinate) in enumerate(
                zip(crop, coordinates, strict=True), start=2
            ):
                window = cropped(tf, window, axis, extent, coordinate)
            if level:
                window = self.shrink(tf, window, crop)
            glimpses.append(window)
        glimpse = tf.concat(glimpses, axis=1)
        return glimpse if batched else tf.squeeze(glimpse, 0)

    def shrink(self, tf: Any, window: Any, crop: tuple[int, int]) -> Any:
        """Crops N×C×h×w in the size of the first."""
        if self.scale != 2:
            rows = interpolated(tf, window, 2, self.height)
            return interpolated(tf, rows, 3, self.width)
        planes = size(tf, window, 1)
        rows, columns = crop[0] // self.height, crop[1] // self.width
        blocks = tf.reshape(window, [-1, planes, self.height, rows, self.width, columns])
        return tf.reduce_mean(blocks, axis=[3, 5])


def cropped(tf: Any, x: Any, axis: int, extent: int, coordinate: Any) -> Any:
    """`extent` elements along an axis of each sample, from where its coordinate says."""
    border = (extent - 1) // 2
    x = tf.pad(x, [[border, border] if each == axis else [0, 0] for each in range(4)])
    room = tf.cast(tf.subtract(size(tf, x, axis), extent), tf.float64)
    start = tf.multiply(tf.divide(tf.add(coordinate, 1), 2), room)
    start = tf.floor(tf.minimum(room, tf.maximum(start, tf.zeros_like(room))))
    places = tf.add(tf.expand_dims(tf.cast(start, tf.int32), 1), tf.range(extent))
    return tf.gather(x, places, axis=axis, batch_dims=1)
