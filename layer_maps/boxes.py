"""DenseCap's boxes: centre x, centre y, width and height, in pixels counted from 1.

Source: jcjohnson/densecap densecap/modules MakeBoxes.lua, MakeAnchors.lua, ReshapeBoxFeatures.lua,
ApplyBoxTransform.lua, InvertBoxTransform.lua, BoxToAffine.lua, RegularizeLayer.lua,
BilinearRoiPooling.lua.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.layer_maps.composites import inside
from porter.maps import (
    Array,
    LayerMap,
    Nested,
    OpContext,
    Shape,
    TorchObject,
    Value,
    Walk,
    integer,
    number,
    param,
    register,
    size,
    structure,
)


class Anchored(LayerMap):
    """k anchors at each place of N×…×H×W: their centres are `sx` and `sy` apart, from (x0, y0) on.

    `anchors` is 2×k, widths above heights.
    """

    anchors = param("SK", trainable=False)
    x0 = number("x0")
    y0 = number("y0")
    sx = number("sx")
    sy = number("sy")

    @property
    def kinds(self) -> int:
        """Anchors at each place."""
        return self.anchors.shape[1]

    def reference_anchors(self, height: int, width: int) -> Array:
        """k×4×H×W."""
        out = np.empty((self.kinds, 4, height, width))
        out[:, 0] = self.x0 + self.sx * np.arange(width)
        out[:, 1] = (self.y0 + self.sy * np.arange(height))[:, None]
        out[:, 2:] = self.anchors.array.T[:, :, None, None]
        return out

    def tensor_anchors(
        self, tf: Any, height: Any, width: Any, at: OpContext
    ) -> tuple[Any, Any, Any, Any]:
        """Centres 1×1×1×W and 1×1×H×1, widths and heights 1×k×1×1."""
        widths, heights = tf.unstack(at.variable(self.anchors), num=2, axis=0)
        return (
            tf.reshape(spaced(tf, self.x0, self.sx, width, at), [1, 1, 1, -1]),
            tf.reshape(spaced(tf, self.y0, self.sy, height, at), [1, 1, -1, 1]),
            tf.reshape(widths, [1, -1, 1, 1]),
            tf.reshape(heights, [1, -1, 1, 1]),
        )


def spaced(tf: Any, first: float, step: float, count: Any, at: OpContext) -> Any:
    """first, first + step, … : `count` numbers."""
    return tf.add(tf.multiply(tf.cast(tf.range(count), at.dtype), step), first)


@register("nn.MakeBoxes")
class MakeBoxes(Anchored):
    """Boxes N×(k·H·W)×4 from N×4k×H×W: anchor by anchor its shift and the logarithm of its growth.

    x = xa + wa·tx, y = ya + ha·ty, w = wa·exp(tw), h = ha·exp(th).
    """

    def output_shape(self, x: Shape) -> Shape:
        planes = 4 * self.kinds
        self.require(len(x) == 4 and x[1] == planes, f"takes N×{planes}×H×W", x)
        return (x[0], self.kinds * x[2] * x[3], 4)

    def reference(self, x: Array) -> Array:
        batch, _, height, width = x.shape
        anchors = self.reference_anchors(height, width).astype(x.dtype)
        shifts = x.reshape(batch, self.kinds, 4, height, width)
        boxes = np.empty_like(shifts)
        boxes[:, :, :2] = anchors[:, :2] + anchors[:, 2:] * shifts[:, :, :2]
        boxes[:, :, 2:] = anchors[:, 2:] * np.exp(shifts[:, :, 2:])
        return np.moveaxis(boxes, 2, -1).reshape(self.output_shape(x.shape))

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        height, width = size(tf, x, 2), size(tf, x, 3)
        places = tf.multiply(tf.multiply(height, width), self.kinds)
        split = tf.reshape(x, [-1, self.kinds, 4, tf.multiply(height, width)])
        columns = [
            tf.reshape(each, [-1, self.kinds, height, width])
            for each in tf.unstack(split, num=4, axis=2)
        ]
        anchors = self.tensor_anchors(tf, height, width, at)
        boxes = tf.stack(moved(tf, anchors, columns), axis=-1)
        return tf.reshape(boxes, [-1, places, 4])


def moved(tf: Any, boxes: Any, shifts: Any) -> list[Any]:
    """x, y, w and h of boxes that were moved by a share of their size and grown by exp."""
    x, y, width, height = boxes
    tx, ty, tw, th = shifts
    return [
        tf.add(tf.multiply(width, tx), x),
        tf.add(tf.multiply(height, ty), y),
        tf.multiply(tf.exp(tw), width),
        tf.multiply(tf.exp(th), height),
    ]


@register("nn.MakeAnchors")
class MakeAnchors(Anchored):
    """The anchors N×4k×H×W at each position of N×C×H×W, whatever its values."""

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) == 4, "takes N×C×H×W", x)
        return (x[0], 4 * self.kinds, *x[2:])

    def reference(self, x: Array) -> Array:
        anchors = self.reference_anchors(*x.shape[2:]).astype(x.dtype)
        shape = self.output_shape(x.shape)
        return np.broadcast_to(anchors.reshape(1, *shape[1:]), shape).copy()

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        height, width = size(tf, x, 2), size(tf, x, 3)
        whole = tf.stack([1, self.kinds, height, width])
        columns = [
            tf.broadcast_to(each, whole) for each in self.tensor_anchors(tf, height, width, at)
        ]
        anchors = tf.reshape(tf.stack(columns, axis=2), [1, 4 * self.kinds, height, width])
        return tf.tile(anchors, tf.stack([size(tf, x, 0), 1, 1, 1]))


@register("nn.ReshapeBoxFeatures")
class ReshapeBoxFeatures(LayerMap):
    """N×(k·H·W)×D from N×(k·D)×H×W: D numbers for each anchor at each place."""

    kinds = integer("k")

    def output_shape(self, x: Shape) -> Shape:
        fits = len(x) == 4 and self.kinds > 0 and x[1] % self.kinds == 0
        self.require(fits, f"takes N×C×H×W, where {self.kinds} divides C", x)
        return (x[0], self.kinds * x[2] * x[3], x[1] // self.kinds)

    def reference(self, x: Array) -> Array:
        split = x.reshape(x.shape[0], self.kinds, -1, *x.shape[2:])
        return np.moveaxis(split, 2, -1).reshape(self.output_shape(x.shape))

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        places = tf.multiply(size(tf, x, 2), size(tf, x, 3))
        features = tf.math.floordiv(size(tf, x, 1), self.kinds)
        split = tf.reshape(x, [-1, self.kinds, features, places])
        rows = tf.transpose(split, [0, 1, 3, 2])
        return tf.reshape(rows, [-1, tf.multiply(places, self.kinds), features])


class BoxPair(LayerMap):
    """Two tensors of boxes or shifts, …×4 each."""

    def output_shape(self, first: Shape, second: Shape) -> Shape:
        fits = first == second and len(first) > 0 and first[-1] == 4
        self.require(fits, "takes two tensors of …×4", first, second)
        return first


@register("nn.ApplyBoxTransform")
class ApplyBoxTransform(BoxPair):
    """{boxes, shifts}: x + w·tx, y + h·ty, w·exp(tw), h·exp(th)."""

    def reference(self, boxes: Array, shifts: Array) -> Array:
        out = np.empty_like(boxes)
        out[..., :2] = boxes[..., :2] + boxes[..., 2:] * shifts[..., :2]
        out[..., 2:] = boxes[..., 2:] * np.exp(shifts[..., 2:])
        return out

    def apply(self, tf: Any, boxes: Any, shifts: Any, at: OpContext) -> Any:
        pairs = [tf.unstack(each, num=4, axis=-1) for each in (boxes, shifts)]
        return tf.stack(moved(tf, *pairs), axis=-1)


@register("nn.InvertBoxTransform")
class InvertBoxTransform(BoxPair):
    """The shifts that map the first boxes to the second: {anchors, targets}, N×4 each."""

    def reference(self, anchors: Array, targets: Array) -> Array:
        sizes = anchors[..., 2:]
        shifts = (targets[..., :2] - anchors[..., :2]) / sizes
        return np.concatenate([shifts, np.log(targets[..., 2:] / sizes)], axis=-1)

    def apply(self, tf: Any, anchors: Any, targets: Any, at: OpContext) -> Any:
        places, sizes = tf.split(anchors, 2, axis=-1)
        target_places, target_sizes = tf.split(targets, 2, axis=-1)
        shifts = tf.divide(tf.subtract(target_places, places), sizes)
        return tf.concat([shifts, tf.math.log(tf.divide(target_sizes, sizes))], axis=-1)


@register("nn.BoxToAffine")
class BoxToAffine(LayerMap):
    """Matrices B×2×3 that map a grid onto boxes B×4 of an image of `H`×`W`.

    Old files lack the sizes: DenseCap sets them before every call.
    """

    height = number("H")
    width = number("W")

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) == 2 and x[1] == 4, "takes B×4", x)
        return (x[0], 2, 3)

    def reference(self, x: Array) -> Array:
        out = np.zeros((len(x), 2, 3), x.dtype)
        for row, (centre, extent, whole) in enumerate(((1, 3, self.height), (0, 2, self.width))):
            out[:, row, row] = x[:, extent] / whole
            out[:, row, 2] = (2 * x[:, centre] - 1 - whole) / (whole - 1)
        return out

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        column, row, width, height = tf.unstack(x, num=4, axis=1)
        zero = tf.zeros_like(row)
        rows = [
            [tf.divide(height, self.height), zero, centred(tf, row, self.height)],
            [zero, tf.divide(width, self.width), centred(tf, column, self.width)],
        ]
        return tf.stack([tf.stack(each, axis=-1) for each in rows], axis=1)


def centred(tf: Any, centre: Any, extent: float) -> Any:
    """Pixel 1 to `extent` as −1 to 1."""
    return tf.divide(tf.subtract(tf.multiply(centre, 2), 1 + extent), extent - 1)


@structure("nn.RegularizeLayer", note="identity; a penalty that adds to gradients in training")
def regularize(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The very same tensor."""
    walk.note("identity: its penalty matters to training only")
    return x


@structure("nn.BilinearRoiPooling")
def bilinear_roi_pooling(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """B×C×height×width from {features C×H×W, boxes B×4}: the output of the net inside.

    Boxes are in pixels of the image, whose size `setImageSize` sets before every call: a port takes
    that of the call before the file was saved.
    """
    walk.note("boxes are those of an image of the size that the file was last used with")
    return walk(inside(walk, module, "net"), x, at="net")
