"""Features of regions of interest.

Source: szagoruyko/imagine-nn ROIPooling.lua, ROIPooling.cu; fast-rcnn-torch ROI/ROIPooling.lua.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from porter.layer_maps.windows import LOWEST, passing_over_nan, without_nan
from porter.maps import (
    Array,
    BadField,
    HintsInputs,
    LayerMap,
    OpContext,
    Shape,
    TensorType,
    flag,
    integer,
    number,
    over_time,
    register,
    size,
)


class RegionPooling(LayerMap, HintsInputs):
    """R×C×H×W: the largest elements in H×W bins of each region of N×C×h×w images.

    A region is (image, left, top, right, bottom), counted from 1 in the pixels of the net's input,
    which `spatial_scale` converts to those of the features. An empty bin gives 0.
    """

    rows = integer("H")
    columns = integer("W")
    scale = number("spatial_scale", 1.0)

    def checked(self) -> LayerMap:
        if min(self.rows, self.columns) < 1:
            raise BadField(
                f"{self.typename} should have at least one bin",
                received=f"{self.rows}×{self.columns}",
            )
        return self

    def output_shape(self, x: Shape, regions: Shape) -> Shape:
        fits = len(x) == 4 and len(regions) == 2 and regions[1] == 5
        self.require(fits, "takes images N×C×H×W and regions R×5", x, regions)
        return (regions[0], x[1], self.rows, self.columns)

    def input_hint_at(
        self, position: int, inputs: Sequence[TensorType | None]
    ) -> TensorType | None:
        return TensorType((None, 5) if position == 1 else (None,) * 4)

    def reference(self, x: Array, regions: Array) -> Array:
        out = np.zeros(self.output_shape(x.shape, regions.shape), x.dtype)
        regions = regions.astype(np.float32)
        for pooled, region in zip(out, regions, strict=True):
            image = x[min(max(int(region[0] - self.first(regions)), 0), len(x) - 1)]
            left, top, right, bottom = region[1:]
            rows = self.bins(top, bottom, self.rows, x.shape[2])
            columns = self.bins(left, right, self.columns, x.shape[3])
            for i, j in np.ndindex(self.rows, self.columns):
                pixels = passing_over_nan(image)[:, slice(*rows[i]), slice(*columns[j])]
                if pixels.size:
                    pooled[:, i, j] = pixels.max(axis=(1, 2))
        return out

    @abc.abstractmethod
    def first(self, regions: Any) -> Any:
        """The number that regions have for the first image."""

    @abc.abstractmethod
    def bins(
        self, first: np.float32, last: np.float32, count: int, extent: int
    ) -> list[tuple[int, int]]:
        """Where each bin begins and ends along an axis of `extent` pixels of the features."""

    @abc.abstractmethod
    def tensor_bins(self, tf: Any, first: Any, last: Any, count: int, extent: Any) -> list[Any]:
        """The same of every region: two tensors R×count."""

    def apply(self, tf: Any, x: Any, regions: Any, at: OpContext) -> Any:
        x = without_nan(tf, x, self.nan)
        height, width = size(tf, x, 2), size(tf, x, 3)
        regions = tf.cast(regions, tf.float32)
        image, left, top, right, bottom = tf.unstack(regions, num=5, axis=1)
        number = tf.cast(tf.subtract(image, self.first(regions)), tf.int32)
        number = tf.clip_by_value(number, 0, tf.subtract(size(tf, x, 0), 1))
        rows = self.tensor_bins(tf, top, bottom, self.rows, height)
        columns = self.tensor_bins(tf, left, right, self.columns, width)

        def pool(_: Any, elements: list[Any], __: list[Any]) -> tuple[list[Any], list[Any]]:
            which, row_begins, row_ends, column_begins, column_ends = elements
            in_rows = members(tf, row_begins, row_ends, height)
            in_columns = members(tf, column_begins, column_ends, width)
            lowest = tf.constant(LOWEST, at.dtype)
            pixels = tf.expand_dims(tf.gather(x, which), 0)
            by_row = tf.where(tf.reshape(in_rows, [self.rows, 1, -1, 1]), pixels, lowest)
            largest = tf.expand_dims(tf.reduce_max(by_row, axis=2), 0)
            by_bin = tf.where(tf.reshape(in_columns, [self.columns, 1, 1, -1]), largest, lowest)
            pooled = tf.transpose(tf.reduce_max(by_bin, axis=3), [2, 1, 0])
            filled = tf.logical_and(
                tf.reshape(tf.less(row_begins, row_ends), [1, self.rows, 1]),
                tf.reshape(tf.less(column_begins, column_ends), [1, 1, self.columns]),
            )
            return [tf.where(filled, pooled, tf.zeros_like(pooled))], []

        shape = (at.inputs[0].shape[1], self.rows, self.columns)
        sequences = [number, *rows, *columns]
        (out,) = over_time(tf, pool, size(tf, regions, 0), sequences, [], [shape], [at.dtype])
        return out


@register("inn.ROIPooling")
class ROIPooling(RegionPooling):
    """R×C×H×W: the largest elements in H×W bins of each region of N×C×h×w images.

    A region is (image, left, top, right, bottom), counted from 1. `v2` rounds the borders of bins,
    and ends regions one pixel earlier; before, bins were widened to whole pixels.
    """

    rounds = flag("v2")

    def first(self, regions: Any) -> Any:
        return 1

    def bins(
        self, first: np.float32, last: np.float32, count: int, extent: int
    ) -> list[tuple[int, int]]:
        scale = np.float32(self.scale)
        begin, stop = (rounded((edge - 1) * scale) for edge in (first, last))
        length = max(stop - begin + (0 if self.rounds else 1), 1)
        step = np.float32(length) / np.float32(count)
        borders = []
        for i in range(count):
            low, high = np.float32(i) * step, np.float32(i + 1) * step
            pair = (rounded(low), rounded(high)) if self.rounds else (int(low), math.ceil(high))
            start, end = (min(max(edge + begin, 0), extent) for edge in pair)
            borders.append((start, max(start, end)))
        return borders

    def tensor_bins(self, tf: Any, first: Any, last: Any, count: int, extent: Any) -> list[Any]:
        begin, stop = (
            tensor_rounded(tf, tf.multiply(tf.subtract(edge, 1), self.scale))
            for edge in (first, last)
        )
        length = tf.maximum(tf.add(tf.subtract(stop, begin), 0 if self.rounds else 1), 1)
        # Divided in double precision, so that a reciprocal in its place still rounds as a quotient.
        step = tf.expand_dims(tf.cast(tf.divide(tf.cast(length, tf.float64), count), tf.float32), 1)
        borders = []
        for shift in (0, 1):
            number = tf.cast(tf.range(shift, count + shift), tf.float32)
            border = tf.multiply(tf.expand_dims(number, 0), step)
            if self.rounds:
                edge = tensor_rounded(tf, border)
            else:
                edge = tf.cast(tf.math.ceil(border) if shift else tf.floor(border), tf.int32)
            borders.append(tf.clip_by_value(tf.add(edge, tf.expand_dims(begin, 1)), 0, extent))
        return borders


@register("detection.ROIPooling")
class AdaptiveRegionPooling(RegionPooling):
    """R×C×H×W: an adaptive max pooling of each region of N×C×h×w images.

    A region is (image, left, top, right, bottom), counted from 1; the image of the first region is
    the first of the batch. Regions end with the features; Torch stops at one that begins outside.
    """

    def first(self, regions: Any) -> Any:
        return regions[0, 0]

    def bins(
        self, first: np.float32, last: np.float32, count: int, extent: int
    ) -> list[tuple[int, int]]:
        scale, one = np.float32(self.scale), np.float32(1)
        begin, stop = (min(rounded((edge - one) * scale + one), extent) for edge in (first, last))
        begin, single = max(begin - 1, 0), np.float32
        length = max(stop - begin, 0)
        return [
            (
                begin + int(np.floor(single(i) / single(count) * single(length))),
                begin + int(np.ceil(single(i + 1) / single(count) * single(length))),
            )
            for i in range(count)
        ]

    def tensor_bins(self, tf: Any, first: Any, last: Any, count: int, extent: Any) -> list[Any]:
        begin, stop = (
            tf.minimum(
                tensor_rounded(tf, tf.add(tf.multiply(tf.subtract(edge, 1), self.scale), 1)), extent
            )
            for edge in (first, last)
        )
        begin = tf.expand_dims(tf.maximum(tf.subtract(begin, 1), 0), 1)
        length = tf.maximum(tf.subtract(tf.expand_dims(stop, 1), begin), 0)
        # The quotients are numbers that the map knows, in single precision as in THNN.
        share = np.arange(count + 1, dtype=np.float32) / np.float32(count)
        places = tf.multiply(tf.constant(share[None]), tf.cast(length, tf.float32))
        low, high = tf.floor(places[:, :-1]), tf.math.ceil(places[:, 1:])
        return [tf.add(begin, tf.cast(edge, tf.int32)) for edge in (low, high)]


def rounded(value: np.float32) -> int:
    """To the nearest integer, halves away from zero."""
    return int(math.copysign(math.floor(abs(float(value)) + 0.5), value))


def tensor_rounded(tf: Any, x: Any) -> Any:
    """The same in TensorFlow; in double precision, which the half is added to without rounding."""
    exact = tf.cast(x, tf.float64)
    return tf.cast(tf.multiply(tf.sign(exact), tf.floor(tf.add(tf.abs(exact), 0.5))), tf.int32)


def members(tf: Any, begins: Any, ends: Any, extent: Any) -> Any:
    """The pixels, of `extent`, in each bin."""
    pixels = tf.expand_dims(tf.range(extent), 0)
    return tf.logical_and(
        tf.greater_equal(pixels, tf.expand_dims(begins, 1)),
        tf.less(pixels, tf.expand_dims(ends, 1)),
    )
