"""gvnn: cameras and flows, from points and numbers to the places at which an image is sampled.

Places are (x, y) up to nn.ReverseXYOrder, from −1 at the first row or column to 1 at the last.

Source: ankurhanda/gvnn Transform3DPoints_R.lua, Transform3DPoints_Rt.lua,
Transform3DPoints_depth.lua, PinHoleCameraProjectionBHWD.lua, ReverseXYOrder.lua, OpticalFlow2D.lua,
Disparity1D.lua, DenseAffineOpticFlowBHWD.lua, SlantedPlaneDisparityBHWD.lua,
NonRigidPerPixelSE2.lua.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from porter.layer_maps.spatial_transformer import GridGenerator
from porter.maps import (
    Array,
    HintsInput,
    HintsInputs,
    LayerMap,
    OpContext,
    Shape,
    TensorType,
    integer,
    number,
    param,
    register,
)

# Points and cameras -------------------------------------------------------------------------------


@register("nn.Transform3DPoints_R")
class Transform3DPointsR(GridGenerator):
    """N×H×W×3 or H×W×3, the rays of a camera's pixels turned by rotations N×3×3 or 3×3.

    `baseGrid` (H×W×3) has the rays: ((column − u0) / fx, (row − v0) / fy, 1), counted from 1.
    """

    rows = 3


class DepthReader(LayerMap, HintsInputs):
    """Points from depths N×H×W or N×1×H×W along the rays in `baseGrid`."""

    grid = param("HWK", name="baseGrid", trainable=False)

    def depth_type(self) -> TensorType:
        """What the depths must be."""
        return TensorType((None, *self.grid.shape[:2]))

    def takes_depth(self, x: Shape) -> bool:
        """Whether these are depths for every ray."""
        return len(x) in (3, 4) and x[-2:] == self.grid.shape[:2] and x[1:-2] in ((), (1,))

    def reference_points(self, depth: Array) -> Array:
        """N×H×W×3."""
        height, width, _ = self.grid.shape
        depth = depth.reshape(-1, height, width)
        columns, rows = np.moveaxis(self.grid.array, -1, 0)[:2]
        return np.stack([columns * depth, rows * depth, depth], axis=-1)

    def tensor_points(self, tf: Any, depth: Any, at: OpContext) -> Any:
        """The same in TensorFlow."""
        height, width, _ = self.grid.shape
        depths = tf.reshape(depth, [-1, height, width])
        grid = at.variable(self.grid)
        sides = [tf.multiply(grid[:, :, side], depths) for side in (0, 1)]
        return tf.stack([*sides, depths], axis=-1)


@register("nn.Transform3DPoints_depth")
class Transform3DPointsDepth(DepthReader):
    """N×H×W×3, the points at depths N×H×W or N×1×H×W along a camera's rays."""

    def input_hint_at(
        self, position: int, inputs: Sequence[TensorType | None]
    ) -> TensorType | None:
        return self.depth_type()

    def output_shape(self, x: Shape) -> Shape:
        self.require(self.takes_depth(x), "takes depths N×H×W of its camera's size", x)
        return (x[0], *self.grid.shape[:2], 3)

    def reference(self, x: Array) -> Array:
        return self.reference_points(x).astype(x.dtype)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return self.tensor_points(tf, x, at)


@register("nn.Transform3DPoints_Rt")
class Transform3DPointsRt(DepthReader):
    """N×H×W×3 from {motions N×3×4, depths N×H×W or N×1×H×W}: the points there, moved."""

    fresh_output = True

    def input_hint_at(
        self, position: int, inputs: Sequence[TensorType | None]
    ) -> TensorType | None:
        return self.depth_type() if position else TensorType((None, 3, 4))

    def output_shape(self, motions: Shape, depth: Shape) -> Shape:
        fits = len(motions) == 3 and motions[1:] == (3, 4) and self.takes_depth(depth)
        fits = fits and motions[0] == depth[0]
        self.require(fits, "takes motions N×3×4 and depths N×H×W", motions, depth)
        return (motions[0], *self.grid.shape[:2], 3)

    def reference(self, motions: Array, depth: Array) -> Array:
        points = self.reference_points(depth)
        points = np.concatenate([points, np.ones_like(points[..., :1])], axis=-1)
        moved: Array = np.einsum("nhwk,nck->nhwc", points, motions)
        return moved.astype(depth.dtype)

    def apply(self, tf: Any, motions: Any, depth: Any, at: OpContext) -> Any:
        height, width, _ = self.grid.shape
        points = tf.reshape(self.tensor_points(tf, depth, at), [-1, height * width, 3])
        points = tf.concat([points, tf.ones_like(points[:, :, :1])], axis=2)
        moved = tf.matmul(points, motions, transpose_b=True)
        return tf.reshape(moved, [-1, height, width, 3])


@register("nn.PinHoleCameraProjectionBHWD")
class PinHoleCameraProjectionBHWD(LayerMap, HintsInput):
    """Places N×H×W×2 from points N×H×W×3: (fx·x/z + u0, fy·y/z + v0), with ε added to z."""

    height = integer("height")
    width = integer("width")
    focal_x = number("fx")
    focal_y = number("fy")
    center_x = number("u0")
    center_y = number("v0")
    epsilon = number("epsilon", 1e-12)

    def input_hint(self) -> TensorType | None:
        return TensorType((None, self.height, self.width, 3))

    def output_shape(self, x: Shape) -> Shape:
        fits = len(x) == 4 and x[1:] == (self.height, self.width, 3)
        self.require(fits, f"takes N×{self.height}×{self.width}×3", x)
        return (*x[:3], 2)

    def reference(self, x: Array) -> Array:
        focal = np.array([self.focal_x, self.focal_y], x.dtype)
        center = np.array([self.center_x, self.center_y], x.dtype)
        with np.errstate(divide="ignore", invalid="ignore"):
            places: Array = x[..., :2] / (x[..., 2:] + x.dtype.type(self.epsilon)) * focal + center
        return places

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        columns, rows, depth = tf.unstack(x, num=3, axis=-1)
        depth = tf.add(depth, self.epsilon)
        return tf.stack(
            [
                tf.add(tf.multiply(tf.divide(columns, depth), self.focal_x), self.center_x),
                tf.add(tf.multiply(tf.divide(rows, depth), self.focal_y), self.center_y),
            ],
            axis=-1,
        )


@register("nn.ReverseXYOrder")
class ReverseXYOrder(LayerMap):
    """N×H×W×2 with x and y exchanged."""

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) == 4 and x[3] == 2, "takes N×H×W×2", x)
        return x

    def reference(self, x: Array) -> Array:
        return x[..., ::-1]

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.reverse(x, axis=[3])


# Numbers for each pixel ---------------------------------------------------------------------------


class Flow(LayerMap, HintsInput):
    """Something for each place in `baseGrid` (H×W×K), from N×H×W×`numbers`."""

    grid = param("HWK", name="baseGrid", trainable=False)
    numbers: ClassVar[int]
    outputs: ClassVar[int] = 2

    def input_hint(self) -> TensorType | None:
        return TensorType((None, *self.grid.shape[:2], self.numbers))

    def output_shape(self, x: Shape) -> Shape:
        expected = (*self.grid.shape[:2], self.numbers)
        self.require(
            len(x) == 4 and x[1:] == expected, f"takes N×{'×'.join(map(str, expected))}", x
        )
        return (*x[:3], self.outputs)


@register("nn.OpticalFlow2DBHWD")
class OpticalFlow2DBHWD(Flow):
    """Places N×H×W×2, each moved as the input says."""

    numbers = 2
    fresh_output = True

    def reference(self, x: Array) -> Array:
        return self.grid.array + x

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.add(at.variable(self.grid), x)


@register("nn.Disparity1DBHWD")
class Disparity1DBHWD(Flow):
    """Places N×H×W×2, each moved along x by N×H×W×1."""

    numbers = 1

    def reference(self, x: Array) -> Array:
        moves: Array = np.concatenate([x, np.zeros_like(x)], axis=3)
        return self.grid.array + moves

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.add(at.variable(self.grid), tf.concat([x, tf.zeros_like(x)], axis=3))


class AffineFlow(Flow):
    """Rows of three numbers, each times the pixel's own entry in `baseGrid`."""

    def reference(self, x: Array) -> Array:
        rows = x.reshape(*x.shape[:3], self.outputs, 3)
        out: Array = np.einsum("nhwrk,hwk->nhwr", rows, self.grid.array)
        return out.astype(x.dtype)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        height, width, _ = self.grid.shape
        rows = tf.reshape(x, [-1, height, width, self.outputs, 3])
        products = tf.multiply(rows, tf.expand_dims(at.variable(self.grid), 2))
        return tf.reduce_sum(products, axis=-1)


@register("nn.DenseAffineOpticFlowBHWD")
class DenseAffineOpticFlowBHWD(AffineFlow):
    """Places N×H×W×2, each by its own affine map: six numbers, row by row."""

    numbers = 6


@register("nn.SlantedPlaneDisparityBHWD")
class SlantedPlaneDisparityBHWD(AffineFlow):
    """Disparities N×H×W×1 of slanted planes: a·y + b·x + c with each pixel's own a, b, c."""

    numbers = 3
    outputs = 1


@register("nn.NonRigidSE2BHWD")
class NonRigidSE2BHWD(Flow):
    """Places N×H×W×2, each turned about the centre by its angle, and moved by its two numbers."""

    numbers = 3

    def reference(self, x: Array) -> Array:
        columns, rows = np.moveaxis(self.grid.array.astype(x.dtype), -1, 0)[:2]
        angle, right, down = np.moveaxis(x, -1, 0)
        cosine, sine = np.cos(angle), np.sin(angle)
        turned = [columns * cosine - rows * sine + right, columns * sine + rows * cosine + down]
        return np.stack(turned, axis=-1)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        grid = at.variable(self.grid)
        columns, rows = grid[:, :, 0], grid[:, :, 1]
        angle, right, down = tf.unstack(x, num=3, axis=-1)
        cosine, sine = tf.cos(angle), tf.sin(angle)
        across = tf.subtract(tf.multiply(columns, cosine), tf.multiply(rows, sine))
        along = tf.add(tf.multiply(columns, sine), tf.multiply(rows, cosine))
        return tf.stack([tf.add(across, right), tf.add(along, down)], axis=-1)
