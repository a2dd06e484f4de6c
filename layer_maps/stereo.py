"""Stereo matching in mc-cnn: normalised features, and how well those of two images agree.

Source: jzbontar/mc-cnn Normalize2.lua, StereoJoin.lua, adcensus.cu (Normalize_get_norm_,
Normalize_forward_, StereoJoin_).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.maps import (
    Accepts,
    Array,
    BySample,
    LayerMap,
    OpContext,
    Shape,
    integer,
    register,
    size,
)

EPSILON = 1e-5
"""What adcensus.cu adds to the sum of squares."""


@register("nn.Normalize2")
class Normalize2(LayerMap, BySample):
    """x / √(Σ x² + 1e-5), the sum over the planes of N×C×H×W, at each pixel by itself."""

    accepts = Accepts.ANY_ORDER

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) == 4, "takes N×C×H×W", x)
        return x

    def reference(self, x: Array) -> Array:
        out: Array = x / np.sqrt(np.square(x).sum(axis=1, keepdims=True) + EPSILON)
        return out

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        squares = tf.reduce_sum(tf.square(x), axis=at.axis(1), keepdims=True)
        return tf.divide(x, tf.sqrt(tf.add(squares, EPSILON)))

    def is_by_sample(self) -> bool:
        return True


@register("nn.StereoJoin")
class StereoJoin(LayerMap):
    """1×D×H×W costs −Σ left[x]·right[x − d] for D disparities d, from both images: 2×C×H×W.

    0 for the first d columns, which have no partner: there Torch leaves memory as it was. The
    published nets make one disparity, so that this never shows.
    """

    disparities = integer("disp_max")

    def output_shape(self, x: Shape) -> Shape:
        self.require(self.disparities > 0, f"compares {self.disparities} disparities")
        self.require(len(x) == 4 and x[0] == 2, "takes a left and a right image, 2×C×H×W", x)
        return (1, self.disparities, *x[2:])

    def reference(self, x: Array) -> Array:
        left, right = x
        width = x.shape[3]
        out = np.zeros(self.output_shape(x.shape), x.dtype)
        for d in range(min(self.disparities, width)):
            out[0, d, :, d:] = -(left[:, :, d:] * right[:, :, : width - d]).sum(axis=0)
        return out

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        left, right = tf.unstack(x, num=2, axis=0)
        width = size(tf, x, 3)
        costs = []
        for d in range(self.disparities):
            shifted = tf.slice(tf.pad(right, [[0, 0], [0, 0], [d, 0]]), [0, 0, 0], [-1, -1, width])
            costs.append(tf.negative(tf.reduce_sum(tf.multiply(left, shifted), axis=0)))
        return tf.expand_dims(tf.stack(costs), 0)
