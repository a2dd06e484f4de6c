"""Poolings over time, for sequences of frames.

Source: torch/nn TemporalMaxPooling.lua, TemporalDynamicKMaxPooling.lua; THNN TemporalMaxPooling.c.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from porter.layer_maps.windows import passing_over_nan, without_nan
from porter.maps import (
    Array,
    LayerMap,
    OpContext,
    Shape,
    integer,
    number,
    register,
    size,
)


@register("nn.TemporalMaxPooling")
class TemporalMaxPooling(LayerMap):
    """Maximum over kW frames, every dW frames, of N×T×F or T×F; NaN is left out."""

    kernel = integer("kW")
    stride = integer("dW")

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) in (2, 3), "takes N×T×F or T×F", x)
        self.require(min(self.kernel, self.stride) > 0, "needs a kernel and stride of at least 1")
        *batch, frames, features = x
        self.require(frames >= self.kernel, f"takes at least {self.kernel} frames", x)
        return (*batch, (frames - self.kernel) // self.stride + 1, features)

    def reference(self, x: Array) -> Array:
        x = passing_over_nan(x)
        starts = range(0, x.shape[-2] - self.kernel + 1, self.stride)
        return np.stack([x[..., t : t + self.kernel, :].max(axis=-2) for t in starts], axis=-2)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        x = without_nan(tf, x, self.nan)
        if at.inputs[0].rank == 3:
            return tf.nn.max_pool1d(x, self.kernel, self.stride, "VALID")
        pooled = tf.nn.max_pool1d(tf.expand_dims(x, 0), self.kernel, self.stride, "VALID")
        return tf.squeeze(pooled, 0)


@register("nn.TemporalDynamicKMaxPooling")
class TemporalDynamicKMaxPooling(LayerMap):
    """The k largest of each feature over time, in their order in time; N×T×F or T×F.

    k is the larger of `minK` and ⌈`factor`·T⌉. Of equal elements the earlier ones are chosen, and
    NaN last; Torch's sort leaves both open.
    """

    least = integer("minK")
    factor = number("factor", 0.0)

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) in (2, 3), "takes N×T×F or T×F", x)
        self.require(0 <= self.factor <= 1, "needs a factor from 0 to 1", self.factor)
        *batch, frames, features = x
        k = max(self.least, math.ceil(self.factor * frames))
        self.require(0 < k <= frames, f"keeps {k} frames", x)
        return (*batch, k, features)

    def reference(self, x: Array) -> Array:
        k = self.output_shape(x.shape)[-2]
        largest = np.argsort(-x, axis=-2, kind="stable")[..., :k, :]
        return np.take_along_axis(x, np.sort(largest, axis=-2), axis=-2)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        swap = [1, 0] if at.inputs[0].rank == 2 else [0, 2, 1]
        k = at.outputs[0].shape[-2]
        if k is None:
            # In double precision, as Lua computes it.
            frames = tf.cast(size(tf, x, len(swap) - 2), tf.float64)
            share = tf.math.ceil(tf.multiply(tf.constant(self.factor, tf.float64), frames))
            k = tf.maximum(self.least, tf.cast(share, tf.int32))
        over_time = tf.transpose(x, swap)
        compared = without_nan(tf, over_time, self.nan)
        places = tf.sort(tf.math.top_k(compared, k).indices, axis=-1)
        found = tf.gather(over_time, places, axis=-1, batch_dims=len(swap) - 1)
        return tf.transpose(found, swap)
