"""Instance normalisation whose gradient is written down, for training.

    x' = (x - mean) / sqrt(var + eps),    y = x' · weight + bias
    dx = weight / sqrt(var + eps) · (dy - mean(dy) - x' · mean(dy · x'))

TensorFlow would derive it through the mean, the mean of squares and the two rounding corrections,
in twice as many passes over the planes. Forward it is what the layer computes, to the bit.

A SavedModel cannot store such a gradient inside a loop over time, so what is saved stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from porter.ir.capabilities import PlaneNormalization
from porter.ir.graph import Graph, Node
from porter.ir.layer_map import LayerMap
from porter.ir.layout import OpContext, size
from porter.passes.normalization import own_statistics
from porter.passes.replacement_ops import ReplacementOp, replaced


class LearningNormalization(ReplacementOp):
    """Planes of N×H×W×C centred and scaled by their own mean and variance."""

    def __init__(self, original: LayerMap, normalization: PlaneNormalization) -> None:
        super().__init__(original)
        self.normalization = normalization

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return self.original.apply(tf, x, at=at)

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        found, planes, eps = self.normalization, x.shape[3], self.normalization.eps

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def normalized(x: Any, weight: Any, bias: Any) -> tuple[Any, Callable[[Any], Any]]:
            deviation = x - mean(tf, x)
            rest = mean(tf, deviation)  # Rounding of a mean that is large beside the deviations.
            squares = mean(tf, tf.square(deviation))
            inverse = tf.math.rsqrt(tf.maximum(squares - tf.square(rest), 0) + eps)
            scale = inverse * weight

            def backward(dy: Any) -> tuple[Any, Any, Any]:
                of_bias = mean(tf, dy)
                of_weight = (mean(tf, dy * deviation) - of_bias * rest) * inverse
                slope = -scale * inverse * of_weight
                dx = dy * scale + (deviation * slope - (rest * slope + of_bias * scale))
                pixels = tf.cast(size(tf, x, 1) * size(tf, x, 2), dy.dtype)
                return dx, *(tf.reduce_sum(e, [0, 1, 2]) * pixels for e in (of_weight, of_bias))

            return deviation * scale + (-rest * scale + bias), backward

        weight = tf.ones([planes]) if found.weight is None else at.variable(found.weight)
        bias = tf.zeros([planes]) if found.bias is None else at.variable(found.bias)
        return normalized(x, *map(tf.convert_to_tensor, (weight, bias)))


def mean(tf: Any, x: Any) -> Any:
    """Of each plane: N×1×1×C. One axis after the other, which keeps partial sums short."""
    return tf.reduce_mean(tf.reduce_mean(x, axis=2, keepdims=True), axis=1, keepdims=True)


def learn_normalizations(graph: Graph) -> Graph:
    """Replace instance normalisations of image batches; those over the batch stay."""
    instead: dict[int, Node] = {}
    for node in graph.nodes:
        found = own_statistics(node)
        if found and not found.over_batch and type(node.op).train is LayerMap.train:
            op = LearningNormalization(node.op, found)
            instead[node.outputs[0].id] = replace(node, op=op)
    return replaced(graph, instead)
