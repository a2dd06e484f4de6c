"""Enlarging images and volumes.

Source: torch/nn SpatialUpSamplingNearest.lua, SpatialUpSamplingBilinear.lua, UpSampling.lua,
PixelShuffle.lua; THNN SpatialUpSamplingNearest.c, SpatialUpSamplingBilinear.c,
VolumetricUpSamplingNearest.c, VolumetricUpSamplingTrilinear.c.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import numpy as np

from porter.layer_maps.containers import one_tensor
from porter.maps import (
    Accepts,
    Array,
    BadField,
    BySample,
    HasKerasLayer,
    HasReach,
    LayerMap,
    Layouts,
    Nested,
    OpContext,
    Reach,
    Shape,
    TensorType,
    TorchObject,
    Types,
    Value,
    Walk,
    channels_last,
    integer,
    optional_integer,
    register,
    size,
    structure,
)


class UpSampling(LayerMap, BySample):
    """Base of layers that enlarge the spatial axes: H and W, or T, H and W of 5-D tensors.

    nn.UpSampling takes batches of images or volumes, the spatial classes images, batched or not.
    """

    def output_shape(self, x: Shape) -> Shape:
        general = self.typename == "nn.UpSampling"
        takes = "N×C×H×W or N×C×T×H×W" if general else "N×C×H×W or C×H×W"
        self.require(len(x) in ((4, 5) if general else (3, 4)), f"takes {takes}", x)
        count = max(len(x) - 2, 2)
        output_size = tuple(
            self.enlarged(n, axis) for axis, n in enumerate(x[-count:], start=-count)
        )
        self.require(min(output_size) > 0, f"makes {output_size}", x)
        return (*x[:-count], *output_size)

    def is_by_sample(self) -> bool:
        return True

    @abc.abstractmethod
    def enlarged(self, n: int, axis: int) -> int:
        """The output's size along an axis (counted from the end) of n elements."""

    def layouts(self, available: Layouts, inputs: Types, outputs: Types) -> tuple[Layouts, Layouts]:
        rank = inputs[0].rank
        layout = channels_last(rank, max(rank - 2, 2))
        return (layout,), (layout,)


@register("nn.SpatialUpSamplingNearest")
class UpSamplingNearest(UpSampling, HasKerasLayer, HasReach):
    """Each element `scale_factor` times along every spatial axis."""

    moves = True
    scale = integer("scale_factor")

    def enlarged(self, n: int, axis: int) -> int:
        return n * self.scale

    def reach(self, axis: int, inputs: Sequence[TensorType]) -> Reach:
        return Reach(scale=self.scale)

    def reference(self, x: Array) -> Array:
        for axis in range(-max(x.ndim - 2, 2), 0):
            x = x.repeat(self.scale, axis)
        return x

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        rank = at.inputs[0].rank
        if rank == 5:
            for axis in (1, 2, 3):
                x = tf.repeat(x, self.scale, axis=axis)
            return x
        height, width = size(tf, x, rank - 3), size(tf, x, rank - 2)
        output_size = [tf.multiply(height, self.scale), tf.multiply(width, self.scale)]
        return tf.image.resize(x, tf.stack(output_size), method="nearest")

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        count = at.inputs[0].rank - 2
        if count < 2:
            return None
        sizes = (self.scale,) * count
        return k(f"UpSampling{count}D", x, size=sizes, data_format="channels_last")


@register("nn.SpatialUpSamplingBilinear")
class UpSamplingLinear(UpSampling):
    """Linear interpolation between elements; the corners of input and output are the same.

    Element i of m outputs lies at i·(n - 1)/(m - 1) of n, in single precision for all dtypes.
    The output is `scale_factor` times as large, or `oheight` × `owidth` (× `odepth` in front).
    """

    scale = optional_integer("scale_factor")
    depth = optional_integer("odepth")
    height = optional_integer("oheight")
    width = optional_integer("owidth")

    def enlarged(self, n: int, axis: int) -> int:
        if self.scale is not None:
            return n * self.scale
        fixed = (self.depth, self.height, self.width)[axis]
        if fixed is None:
            raise BadField(f"{self.typename} has neither a scale nor a size for every axis")
        return fixed

    def reference(self, x: Array) -> Array:
        for axis in range(-max(x.ndim - 2, 2), 0):
            n = x.shape[axis]
            output_size = self.enlarged(n, axis)
            rate = (
                np.float32(n - 1) / np.float32(output_size - 1)
                if output_size > 1
                else np.float32(0)
            )
            parts = []
            for i in range(output_size):
                place = rate * np.float32(i)
                low = int(place)
                high, share = min(low + 1, n - 1), x.dtype.type(place - np.float32(low))
                parts.append((1 - share) * x.take(low, axis) + share * x.take(high, axis))
            x = np.stack(parts, axis=axis)
        return x

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        rank = at.inputs[0].rank
        count = max(rank - 2, 2)
        output_size = [
            self.output_size(tf, size(tf, x, rank - 1 - count + i), i - count) for i in range(count)
        ]
        if count == 2 and at.dtype == tf.float32:  # the kernel knows no other precision
            images = x if rank == 4 else tf.expand_dims(x, 0)
            resized = tf.raw_ops.ResizeBilinear(
                images=images,
                size=tf.stack(output_size),
                align_corners=True,
                half_pixel_centers=False,
            )
            return resized if rank == 4 else tf.squeeze(resized, 0)
        for i, extent in enumerate(output_size):
            x = interpolated(tf, x, rank - 1 - count + i, extent)
        return x

    def output_size(self, tf: Any, n: Any, axis: int) -> Any:
        """`enlarged` for a size that may be a tensor."""
        return self.enlarged(n, axis) if self.scale is None else tf.multiply(n, self.scale)


def interpolated(tf: Any, x: Any, axis: int, output_size: Any) -> Any:
    """`output_size` elements evenly spaced between the first and the last along a stored axis."""
    last = tf.subtract(size(tf, x, axis), 1)
    steps = tf.maximum(tf.subtract(output_size, 1), 1)
    # Divided in double precision, so that a reciprocal in its place still rounds as a quotient.
    rate = tf.divide(tf.cast(last, tf.float64), tf.cast(steps, tf.float64))
    place = tf.multiply(tf.cast(rate, tf.float32), tf.cast(tf.range(output_size), tf.float32))
    low = tf.cast(place, tf.int32)
    share = tf.cast(tf.subtract(place, tf.cast(low, tf.float32)), x.dtype)
    share = tf.reshape(share, [-1] + [1] * (len(x.shape) - axis - 1))
    lower = tf.gather(x, low, axis=axis)
    upper = tf.gather(x, tf.minimum(tf.add(low, 1), last), axis=axis)
    return tf.add(lower, tf.multiply(share, tf.subtract(upper, lower)))


@structure("nn.UpSampling")
def up_sampling(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """Nearest neighbour, or linear interpolation where `mode` is "linear"."""
    linear = module.string("mode", "nearest") == "linear"
    op = (UpSamplingLinear if linear else UpSamplingNearest).from_torch(module, walk.model.options)
    return walk.emit(op, one_tensor(module, x))


@register("nn.PixelShuffle")
class PixelShuffle(LayerMap, HasReach):
    """N×(C·r²)×H×W to N×C×(r·H)×(r·W): plane c·r² + i·r + j becomes row i and column j of
    each r × r block of plane c; batched or not.
    """

    scale = integer("upscaleFactor")
    accepts = Accepts.CHANNELS_LAST

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) in (3, 4), "takes N×C×H×W or C×H×W", x)
        self.require(self.scale > 0, "needs an upscale factor of at least 1", self.scale)
        *batch, planes, height, width = x
        area = self.scale**2
        self.require(planes % area == 0, f"takes a multiple of {area} planes", x)
        return (*batch, planes // area, height * self.scale, width * self.scale)

    def reach(self, axis: int, inputs: Sequence[TensorType]) -> Reach:
        return Reach(scale=self.scale)

    def reference(self, x: Array) -> Array:
        out = np.empty(self.output_shape(x.shape), x.dtype)
        r = self.scale
        for i in range(r):
            for j in range(r):
                out[..., i::r, j::r] = x[..., i * r + j :: r * r, :, :]
        return out

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        r, batched = self.scale, at.inputs[0].rank == 4
        images = x if batched else tf.expand_dims(x, 0)
        if r > 1 and at.outputs[0].shape[-3] == 1:  # TensorFlow's order of planes, then
            out = tf.nn.depth_to_space(images, r)
        else:
            height, width = size(tf, images, 1), size(tf, images, 2)
            planes = tf.math.floordiv(size(tf, images, 3), r * r)
            blocks = tf.reshape(images, [-1, height, width, planes, r, r])
            blocks = tf.transpose(blocks, [0, 1, 4, 2, 5, 3])
            output_size = [-1, tf.multiply(height, r), tf.multiply(width, r), planes]
            out = tf.reshape(blocks, output_size)
        return out if batched else tf.squeeze(out, 0)
