"""A convolution that learns numbers and convolves with their signs.

Source: dpnn SpatialBinaryConvolution.lua.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.layer_maps.convolution import SpatialCorrelation
from porter.layer_maps.gradients import with_gradient_of
from porter.maps import Array, OpContext, register


@register("nn.SpatialBinaryConvolution")
class SpatialBinaryConvolution(SpatialCorrelation):
    """Convolution with sign(w), each output plane scaled by its mean |w|; the sign of 0 is +1.

    Not linear in its planes: scaling the weight scales the factor of its sign, except by negative
    factors.
    """

    reads_before_writing = False

    def filters(self) -> Array:
        weight = self.weight.array.astype(np.float64)
        scales: Array = np.abs(weight).mean(axis=(1, 2, 3), keepdims=True)
        return np.where(weight >= 0, scales, -scales)

    def tensor_filters(self, tf: Any, at: OpContext) -> Any:
        weight = at.variable(self.weight)
        positive = tf.cast(tf.greater_equal(weight, tf.zeros_like(weight)), weight.dtype)
        signs = tf.subtract(tf.add(positive, positive), tf.ones_like(weight))
        return tf.multiply(signs, tf.reduce_mean(tf.abs(weight), axis=[0, 1, 2], keepdims=True))

    def convolve(self, tf: Any, x: Any, at: OpContext, filters: Any = None) -> Any:
        """In training the weight gets the gradient of the filters, as if it were used directly.

        The gradient of the input is computed with other filters: the signs, scaled by the mean |w|
        of each input plane in place of each output plane.
        """
        if not at.training:
            return super().convolve(tf, x, at, filters)
        weight = tf.convert_to_tensor(at.variable(self.weight))
        binary = self.tensor_filters(tf, at)
        learned = with_gradient_of(tf, binary, weight)
        scales = tf.reduce_mean(tf.abs(weight), axis=[0, 1, 3], keepdims=True)
        others = tf.stop_gradient(tf.multiply(tf.sign(binary), scales))
        out = super().convolve(tf, tf.stop_gradient(x), at, learned)
        through = super().convolve(tf, x, at, others)
        return tf.add(out, tf.subtract(through, tf.stop_gradient(through)))
