"""Losses of style transfer, as plain functions of tensors N×H×W×C; each returns one scalar.

Over a batch every loss is the mean of its samples' losses. Gram matrices are per position,

    G = FᵀF / (h·w),   F: (h·w)×c features of one layer,

so that a style image may have another size than the result; where the sizes agree,
every normalisation below equals its source's. Any float dtype.
"""

from __future__ import annotations

from typing import Any, Literal

from porter.system.tensorflow import tf

ContentLoss = Literal["half-sum", "sum", "mean", "course"]
StyleLoss = Literal["gatys", "neural-art-tf", "keras", "texture-nets", "mean"]
VariationLoss = Literal["squared", "absolute", "keras"]


def gram_matrix(features: Any) -> Any:
    """Correlations of features per position: N×H×W×C to N×C×C, symmetric."""
    shape = tf.shape(features)
    flat = tf.reshape(features, [shape[0], shape[1] * shape[2], features.shape[-1]])
    positions = tf.cast(shape[1] * shape[2], features.dtype)
    return squared(flat) / positions


@tf.custom_gradient  # type: ignore[untyped-decorator]
def squared(flat: Any) -> Any:
    """FᵀF of N×M×C. Its gradient is one product, where a product of two tensors has two."""

    def gradient(upstream: Any) -> Any:
        return tf.matmul(flat, upstream + tf.linalg.matrix_transpose(upstream))

    return tf.matmul(flat, flat, transpose_a=True), gradient


def content_loss(features: Any, target: Any, normalisation: ContentLoss = "half-sum") -> Any:
    """How far features N×H×W×C are from those of the content image.

    With d = features - target:

    - `half-sum`: ½ Σ d² (Gatys et al. 2016, eq. 1; also tf.nn.l2_loss of neural-art-tf)
    - `sum`: Σ d² (Keras's example)
    - `mean`: Σ d² / (h·w·c) (nn.MSECriterion: texture_nets, neural-style)
    - `course`: Σ d² / (4·h·w·c) (the notebooks that follow Andrew Ng's course)
    """
    squares = tf.math.squared_difference(features, target)
    total = tf.reduce_mean(tf.reduce_sum(squares, axis=[1, 2, 3]))
    if normalisation == "half-sum":
        return total / 2
    if normalisation == "sum":
        return total
    elements = tf.cast(tf.reduce_prod(tf.shape(features)[1:]), features.dtype)
    return total / elements if normalisation == "mean" else total / (4 * elements)


def style_loss(
    gram: Any, target: Any, normalisation: StyleLoss = "gatys", positions: Any = 1, pixels: Any = 1
) -> Any:
    """How far Gram matrices per position N×C×C are from those of the style.

    With D = Σ (G - A)² of Gram matrices per position, c features, m = h·w positions of the layer
    and p pixels of the image:

    - `gatys`: D / 4c², that is Σ (mG - mA)² / 4c²m² (Gatys et al. 2016, eq. 4)
    - `neural-art-tf`: D / 2c² (tf.nn.l2_loss of Gram matrices over (h·w·c)²)
    - `keras`: D·m² / 36p² (Keras's example divides every layer by 4·3²·p²)
    - `texture-nets`: D / c⁴ (Gram matrices over h·w·c, then nn.MSECriterion; also Johnson's)
    - `mean`: D / c² (the mean of squared differences)

    `positions` (m) and `pixels` (p) matter for `keras` only.
    """
    difference = tf.reduce_mean(
        tf.reduce_sum(tf.math.squared_difference(gram, target), axis=[1, 2])
    )
    channels = int(gram.shape[-1])
    if normalisation == "keras":
        share = tf.cast(positions, gram.dtype) / tf.cast(pixels, gram.dtype)
        return difference * tf.square(share) / 36
    factor = {
        "gatys": 4 * channels**2,
        "neural-art-tf": 2 * channels**2,
        "texture-nets": channels**4,
        "mean": channels**2,
    }[normalisation]
    return difference / factor


def total_variation(images: Any, form: VariationLoss = "squared") -> Any:
    """How much neighbouring pixels of N×H×W×C differ, summed.

    With a and b the differences to the pixels below and to the right:

    - `squared`: Σ a² + Σ b² (Mahendran and Vedaldi, β = 2; TVLoss.lua has its gradient, halved)
    - `absolute`: Σ |a| + Σ |b| (tf.image.total_variation)
    - `keras`: Σ (a² + b²)^1.25 over pixels that have both neighbours (Keras's example)
    """
    below = images[:, 1:] - images[:, :-1]
    beside = images[:, :, 1:] - images[:, :, :-1]
    axes = [1, 2, 3]
    if form == "squared":
        parts = tf.reduce_sum(below**2, axis=axes) + tf.reduce_sum(beside**2, axis=axes)
    elif form == "absolute":
        parts = tf.reduce_sum(abs(below), axis=axes) + tf.reduce_sum(abs(beside), axis=axes)
    else:
        both = below[:, :, :-1] ** 2 + beside[:, :-1] ** 2
        parts = tf.reduce_sum(both**1.25, axis=axes)
    return tf.reduce_mean(parts)
