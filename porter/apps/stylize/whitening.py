"""The whitening and colouring transform as a layer, which stands in no file.

The features of a picture lose their correlations, and get those of the style's:

    y = C · W · (x − mean) + style's mean,   W = V·D^(−1/2)·Vᵀ,   C = V_s·D_s^(1/2)·V_sᵀ

where V and D are eigenvectors and eigenvalues of the features' covariance (divided by H·W − 1).
Directions with eigenvalues below 1e-5 are left out, in W and in C alike.

Source: Li, Fang, Yang, Wang, Lu and Yang, Universal Style Transfer via Feature Transforms (2017);
UniversalStyleTransfer test_wct.lua, feature_wct. Torch takes singular values in float32, which are
the eigenvalues of a covariance; here they are found in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.maps import Accepts, Array, LayerMap, OpContext, Registry, Shape, TorchObject, param
from porter.torch7 import build

TYPENAME = "porter.WhiteningColouring"
LEAST = 1e-5
"""The smallest eigenvalue that counts."""


class WhiteningColouring(LayerMap):
    """Features N×C×H×W with the mean and covariance of a style's, picture by picture."""

    colouring = param("CD")
    mean = param("C")
    accepts = Accepts.CHANNELS_LAST

    def output_shape(self, x: Shape) -> Shape:
        planes = self.mean.shape[0]
        self.require(len(x) == 4 and x[1] == planes, f"takes N×{planes}×H×W", x)
        self.require(x[2] * x[3] > 1, "takes features of more than one position", x)
        return x

    def reference(self, x: Array) -> Array:
        flat = x.reshape(*x.shape[:2], -1)
        parts = [self.colouring.array @ whitened(each) for each in flat]
        return (np.stack(parts) + self.mean.array[:, None]).reshape(x.shape).astype(x.dtype)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        shape = tf.shape(x)
        flat = tf.reshape(x, [shape[0], -1, shape[3]])
        centred = tf.subtract(flat, tf.reduce_mean(flat, axis=1, keepdims=True))
        exact = tf.cast(centred, tf.float64)
        count = tf.cast(shape[1] * shape[2] - 1, tf.float64)
        covariance = tf.divide(tf.matmul(exact, exact, transpose_a=True), count)
        values, vectors = tf.linalg.eigh(covariance)
        scale = tf.where(values < LEAST, tf.zeros_like(values), tf.math.rsqrt(values))
        scaled = tf.multiply(vectors, tf.expand_dims(scale, 1))
        whitening = tf.matmul(scaled, vectors, transpose_b=True)
        # Rows are positions here: both matrices are symmetric.
        colouring = tf.cast(at.variable(self.colouring), tf.float64)
        both = tf.cast(tf.matmul(whitening, colouring), x.dtype)
        return tf.add(tf.reshape(tf.matmul(centred, both), shape), at.variable(self.mean))


def spectrum(centred: Array) -> tuple[Array, Array]:
    """Eigenvalues that count, and their eigenvectors, of the covariance of C×positions."""
    exact = centred.astype(np.float64)
    values, vectors = np.linalg.eigh(exact @ exact.T / (exact.shape[1] - 1))
    counted = values >= LEAST
    return values[counted], vectors[:, counted]


def whitened(features: Array) -> Array:
    """C×positions without mean and correlations."""
    centred = features - features.mean(1, keepdims=True)
    values, vectors = spectrum(centred)
    white: Array = (vectors / np.sqrt(values)) @ (vectors.T @ centred)
    return white


def whitening_colouring(style: Array) -> TorchObject:
    """The layer for the style's features, C×h×w."""
    flat = style.reshape(style.shape[0], -1).astype(np.float64)
    mean = flat.mean(1)
    values, vectors = spectrum(flat - mean[:, None])
    colouring = (vectors * np.sqrt(values)) @ vectors.T
    return build.torch_module(
        TYPENAME, colouring=colouring.astype(np.float32), mean=mean.astype(np.float32)
    )


def with_whitening(registry: Registry) -> Registry:
    """A copy of a registry that knows the layer."""
    extended = registry.copy()
    extended.add(TYPENAME, WhiteningColouring, override=True)
    return extended
