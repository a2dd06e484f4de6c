"""Spatial transformers: affine maps of an image's coordinates, and sampling at any coordinates.

Coordinates are (y, x), from −1 at the first row or column to 1 at the last.

Source: qassemoquab/stnbhwd AffineTransformMatrixGenerator.lua, AffineGridGeneratorBHWD.lua,
BilinearSamplerBHWD.lua, generic/BilinearSamplerBHWD.c; densecap BatchBilinearSamplerBHWD.lua.
"""

from __future__ import annotations

import abc
import math
from typing import Any, ClassVar

import numpy as np

from porter.maps import Array, LayerMap, OpContext, Shape, TensorType, flag, param, register, size


@register("nn.AffineTransformMatrixGenerator")
class AffineTransformMatrixGenerator(LayerMap):
    """2×3 matrices from N×P or P parameters: an angle, a scale, a shift along y and along x.

    The matrix is rotation · scale · shift; parameters that the module does not use are
    left out. In `fullMode` these are the six entries of the matrix, row by row.
    """

    full = flag("fullMode")
    rotates = flag("useRotation")
    scales = flag("useScale")
    shifts = flag("useTranslation")

    @property
    def parameters(self) -> int:
        """How many numbers describe one transform."""
        return 6 if self.full else self.rotates + self.scales + 2 * self.shifts

    def output_shape(self, x: Shape) -> Shape:
        count = self.parameters
        self.require(len(x) in (1, 2) and x[-1] == count, f"takes N×{count} or {count}", x)
        return (*x[:-1], 2, 3)

    def reference(self, x: Array) -> Array:
        if self.full:
            return x.reshape(self.output_shape(x.shape))
        out = np.zeros(self.output_shape(x.shape), x.dtype)
        for sample, matrix in zip(np.atleast_2d(x), out.reshape(-1, 2, 3), strict=True):
            numbers = list(sample)
            angle = numbers.pop(0) if self.rotates else 0.0
            scale = numbers.pop(0) if self.scales else 1.0
            rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            shift = np.array(numbers if self.shifts else [0.0, 0.0])
            matrix[:, :2] = scale * rotation
            matrix[:, 2] = scale * rotation @ shift
        return out

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        if self.full:
            return tf.reshape(x, [*([-1] if at.inputs[0].rank == 2 else []), 2, 3])
        columns = tf.unstack(x, num=self.parameters, axis=-1)
        zero = tf.zeros_like(columns[0])
        scale, y, x_shift = tf.ones_like(columns[0]), zero, zero
        cosine, sine = scale, zero
        if self.rotates:
            angle = columns.pop(0)
            cosine, sine = tf.cos(angle), tf.sin(angle)
        if self.scales:
            scale = columns.pop(0)
            cosine, sine = tf.multiply(scale, cosine), tf.multiply(scale, sine)
        if self.shifts:
            y, x_shift = columns
        shifted = (
            tf.subtract(tf.multiply(cosine, y), tf.multiply(sine, x_shift)),
            tf.add(tf.multiply(sine, y), tf.multiply(cosine, x_shift)),
        )
        rows = [
            tf.stack([cosine, tf.negative(sine), shifted[0]], axis=-1),
            tf.stack([sine, cosine, shifted[1]], axis=-1),
        ]
        return tf.stack(rows, axis=-2)


class GridGenerator(LayerMap):
    """N×H×W×R: each place of `baseGrid` (H×W×3), times each matrix of N×R×3 or R×3."""

    grid = param("HWK", name="baseGrid", trainable=False)
    rows: ClassVar[int]

    def output_shape(self, x: Shape) -> Shape:
        fits = len(x) in (2, 3) and x[-2:] == (self.rows, 3)
        self.require(fits, f"takes N×{self.rows}×3 or {self.rows}×3", x)
        return (*x[:-2], *self.grid.shape[:2], self.rows)

    def reference(self, x: Array) -> Array:
        out: Array = np.einsum("hwk,...ck->...hwc", self.grid.array, x)
        return out

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        height, width, _ = self.grid.shape
        batched = at.inputs[0].rank == 3
        places = tf.reshape(at.variable(self.grid), [height * width, 3])
        # The rows of all matrices side by side: one product for the whole batch.
        rows = tf.reshape(x, [-1, 3])
        products = tf.matmul(rows, places, transpose_b=True)
        grids = tf.transpose(tf.reshape(products, [-1, self.rows, height, width]), [0, 2, 3, 1])
        return grids if batched else tf.squeeze(grids, 0)


@register("nn.AffineGridGeneratorBHWD")
class AffineGridGeneratorBHWD(GridGenerator):
    """Coordinates N×H×W×2 in the input for each place of the output, from N×2×3 or 2×3 matrices.

    `baseGrid` (H×W×3) has the coordinates of the output's places, and 1.
    """

    rows = 2


class BilinearSampler(LayerMap):
    """Images at the places of a grid N×h×w×2, between pixels by linear interpolation.

    Beyond the border there are zeros, to which the last pixel fades within one pixel.
    """

    @abc.abstractmethod
    def check(self, images: Shape, grid: Shape) -> None:
        """Refuse shapes that do not go together."""

    def output_shape(self, images: Shape, grid: Shape) -> Shape:
        self.check(images, grid)
        return (*grid[:-1], images[-1])

    def output_types(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        images, grid = inputs
        shape = self.output_shape(images.static, grid.static)
        return (TensorType(shape, images.dtype),)

    def reference(self, images: Array, grid: Array) -> Array:
        out = np.zeros((*grid.shape[:-1], images.shape[-1]), images.dtype)
        height, width = images.shape[-3:-1]
        for place in np.ndindex(*grid.shape[:-1]):
            image = images if images.ndim == 3 else images[place[0]]
            y = (grid[place][0] + 1) * (height - 1) / 2
            x = (grid[place][1] + 1) * (width - 1) / 2
            for row in (math.floor(y), math.floor(y) + 1):
                for column in (math.floor(x), math.floor(x) + 1):
                    if 0 <= row < height and 0 <= column < width:
                        share = (1 - abs(y - row)) * (1 - abs(x - column))
                        out[place] += share * image[row, column]
        return out

    def sampled(self, tf: Any, images: Any, grid: Any) -> Any:
        """N×h×w×D from images N×H×W×D, or from one image 1×H×W×D for the whole grid."""
        height, width = size(tf, images, 1), size(tf, images, 2)
        y, x = tf.unstack(grid, num=2, axis=-1)
        pixels = tf.reshape(images, [-1, tf.multiply(height, width), size(tf, images, 3)])
        corners = []
        for row, row_share in weighted(tf, y, height):
            for column, column_share in weighted(tf, x, width):
                places = tf.add(tf.multiply(row, width), column)
                share = tf.expand_dims(tf.multiply(row_share, column_share), -1)
                corners.append(tf.multiply(self.picked(tf, pixels, places), share))
        return tf.add_n(corners)

    @abc.abstractmethod
    def picked(self, tf: Any, pixels: Any, places: Any) -> Any:
        """The pixels (N×H·W×D) at N×h×w places: N×h×w×D."""


def weighted(tf: Any, coordinate: Any, extent: Any) -> list[tuple[Any, Any]]:
    """The two indices around a coordinate with their shares, 0 for those beyond the border."""
    last = tf.cast(tf.subtract(extent, 1), coordinate.dtype)
    place = tf.divide(tf.multiply(tf.add(coordinate, 1), last), 2)
    before = tf.floor(place)
    share = tf.subtract(place, before)
    pairs = []
    for index, weight in (
        (before, tf.subtract(tf.ones_like(share), share)),
        (tf.add(before, 1), share),
    ):
        is_inside = tf.logical_and(tf.greater_equal(index, 0), tf.less_equal(index, last))
        nearest = tf.cast(tf.clip_by_value(index, tf.zeros_like(last), last), tf.int32)
        pairs.append((nearest, tf.where(is_inside, weight, tf.zeros_like(weight))))
    return pairs


@register("nn.BilinearSamplerBHWD")
class BilinearSamplerBHWD(BilinearSampler):
    """N×h×w×D from {images N×H×W×D, grid N×h×w×2}; both may lack the batch."""

    def check(self, images: Shape, grid: Shape) -> None:
        alike = len(images) == len(grid) and images[:-3] == grid[:-3] and grid[-1] == 2
        fits = alike and len(images) in (3, 4)
        self.require(fits, "takes images N×H×W×D and a grid N×h×w×2", images, grid)

    def apply(self, tf: Any, images: Any, grid: Any, at: OpContext) -> Any:
        if at.inputs[0].rank == 4:
            return self.sampled(tf, images, grid)
        return tf.squeeze(self.sampled(tf, tf.expand_dims(images, 0), tf.expand_dims(grid, 0)), 0)

    def picked(self, tf: Any, pixels: Any, places: Any) -> Any:
        return tf.gather(pixels, places, axis=1, batch_dims=1)


@register("nn.BatchBilinearSamplerBHWD")
class BatchBilinearSamplerBHWD(BilinearSampler):
    """B×h×w×D from {one image H×W×D, grids B×h×w×2}."""

    def check(self, images: Shape, grid: Shape) -> None:
        fits = len(images) == 3 and len(grid) == 4 and grid[-1] == 2
        self.require(fits, "takes an image H×W×D and grids B×h×w×2", images, grid)

    def apply(self, tf: Any, image: Any, grids: Any, at: OpContext) -> Any:
        return self.sampled(tf, tf.expand_dims(image, 0), grids)

    def picked(self, tf: Any, pixels: Any, places: Any) -> Any:
        return tf.gather(tf.squeeze(pixels, 0), places, axis=0)
