"""Normalisation by each plane's own statistics, in as few passes over memory as possible.

    y = (x - mean) / sqrt(var + eps) · weight + bias

Written with elementary operations this reads and writes the planes seven times. Here it is two
reductions, and one operation that reads and writes: FusedBatchNormV3 with the statistics as inputs,
which TensorFlow fuses with a ReLU behind it.

Adding a constant to a plane changes nothing, so the bias of a convolution in front is dropped.

The variance is the mean of squares less the square of the mean. That loses digits where the mean is
large relative to the deviations; here rows are summed in float32 and their sums in float64, so that
the rounding errors of rows average out: in place of var · 1e-7 the error is about
mean² · 1e-7 / sqrt(rows). Nearly constant planes would still lose all digits; where the model meets
one, deviations from the mean are summed in another pass, as Torch does. (oneDNN's own training
normalisation sums a whole plane in float32, and at 1024×1024 is off by 7e-4 of the output's
standard deviation.)

FusedBatchNormV3 takes one mean for each plane of a batch. So samples are processed one by one
(per_sample.py), and batches that cannot be use elementary operations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from porter.ir.capabilities import PlaneNormalization
from porter.ir.graph import Graph, Node
from porter.ir.layer_map import LayerMap
from porter.ir.layout import OpContext
from porter.passes.matchers import plane_normalization
from porter.passes.replacement_ops import (
    ReplacementOp,
    bias_of,
    is_image_batch,
    pairs,
    replaced,
    without_bias,
)

Average = Callable[[Any], Any]
EXACT_BYTES = 4
"""Item size from which statistics are computed more exactly than by float32 sums."""
MAX_RATIO = 64.0
"""Largest ratio of mean² to variance at which the mean of squares has enough digits."""


class FusedNormalization(ReplacementOp):
    """Planes centred and scaled by their own mean and variance."""

    def __init__(self, original: LayerMap, normalization: PlaneNormalization) -> None:
        super().__init__(original)
        self.normalization = normalization
        self.wants_one_sample = not normalization.over_batch

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        if x.dtype.size < EXACT_BYTES:
            return self.at_once(tf, x, at)

        def averaged(values: Any) -> Any:
            return average(tf, values, self.normalization.over_batch)

        return self.normalized(tf, x, at, averaged)

    def at_once(self, tf: Any, x: Any, at: OpContext) -> Any:
        """Statistics by FusedBatchNormV3 itself: it sums in float32, enough for 16-bit planes.

        Over all samples together, or for a batch of one.
        """
        found, planes = self.normalization, x.shape[3]
        return tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=tf.ones([planes]) if found.weight is None else at.variable(found.weight),
            offset=tf.zeros([planes]) if found.bias is None else at.variable(found.bias),
            mean=tf.zeros([0]),
            variance=tf.zeros([0]),
            epsilon=found.eps,
            is_training=True,
        ).y

    def normalized(self, tf: Any, x: Any, at: OpContext, averaged: Average) -> Any:
        """The planes normalised by the means that `averaged` computes."""
        planes, weight, bias = x.shape[3], self.normalization.weight, self.normalization.bias
        mean, variance = statistics(tf, x, averaged)
        scale = tf.math.rsqrt(variance + self.normalization.eps)
        scale = scale if weight is None else scale * at.variable(weight)
        offset = tf.zeros([planes]) if bias is None else at.variable(bias)
        if self.normalization.over_batch or x.shape[0] == 1:
            mean, scale = (tf.reshape(each, [planes]) for each in (mean, scale))
            return shifted_and_scaled(tf, x, mean, scale, offset)
        return (x - mean) * scale + offset


def shifted_and_scaled(tf: Any, x: Any, mean: Any, scale: Any, offset: Any) -> Any:
    """(x - mean) · scale + offset for each plane, in one operation.

    FusedBatchNormV3 has no gradient for its mean. So it gets the mean as a constant, and the offset
    gets the difference from it: zero, but with a gradient.
    """
    fixed = tf.stop_gradient(mean)
    return tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=scale,
        offset=offset + (fixed - mean) * scale,
        mean=fixed,
        variance=tf.ones_like(scale),
        epsilon=0.0,
        is_training=False,
    ).y


def average(tf: Any, values: Any, over_batch: bool) -> Any:
    """The mean of each plane of N×H×W×C, in float64: N×1×1×C, or 1×1×1×C over all samples."""
    rows = tf.cast(tf.reduce_mean(values, axis=2, keepdims=True), tf.float64)
    return tf.reduce_mean(rows, axis=[0, 1] if over_batch else [1], keepdims=True)


def statistics(tf: Any, x: Any, averaged: Average) -> tuple[Any, Any]:
    """Mean and biased variance of the planes of N×H×W×C, by `averaged`, in x's dtype."""
    mean, squares = averaged(x), averaged(tf.square(x))
    quick = squares - tf.square(mean)
    variance = tf.cond(
        tf.reduce_all(tf.square(mean) <= MAX_RATIO * quick),
        lambda: quick,
        lambda: averaged(tf.math.squared_difference(x, tf.cast(mean, x.dtype))),
    )
    return tf.cast(mean, x.dtype), tf.cast(variance, x.dtype)


def drop_cancelled_biases(graph: Graph) -> Graph:
    """Drop biases that a normalisation by the planes' own statistics cancels."""
    instead: dict[int, Node] = {}
    for maker, node in pairs(graph):
        if own_statistics(node) is not None and maker is not None and bias_of(maker) is not None:
            instead[maker.outputs[0].id] = without_bias(maker)
    return replaced(graph, instead)


def fuse_normalizations(graph: Graph) -> Graph:
    """Fuse normalisations of image batches by own statistics; drop the biases before them."""
    instead: dict[int, Node] = {}
    for node in graph.nodes:
        found = own_statistics(node)
        if found is not None:
            instead[node.outputs[0].id] = replace(node, op=FusedNormalization(node.op, found))
    return replaced(drop_cancelled_biases(graph), instead)


def own_statistics(node: Node) -> PlaneNormalization | None:
    """How a node normalises image batches, if by their own statistics; else None."""
    found = plane_normalization(node.op)
    if found is None or found.mean is not None or not is_image_batch(node):
        return None
    return found
