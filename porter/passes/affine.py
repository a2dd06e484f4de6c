"""Normalisation by statistics kept from training, inside the convolution that is in front of it.

    y = (conv(z) + b - mean) / sqrt(var + eps) · weight + bias

FusedBatchNormV3 behind a Conv2D without a bias is computed by TensorFlow on CPU while the
convolution's results are still in registers, together with a ReLU behind it. So the convolution's
bias b moves behind the normalisation: bias + b · weight / sqrt(var + eps). The statistics stay
variables; folding them into the filters would write a second copy of all filters.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from porter.ir.capabilities import PlaneNormalization
from porter.ir.fields import Param
from porter.ir.graph import Graph, Node
from porter.ir.layer_map import LayerMap
from porter.ir.layout import OpContext
from porter.passes.matchers import plane_normalization
from porter.passes.replacement_ops import (
    Respelled,
    bias_of,
    is_image_batch,
    pairs,
    replaced,
    without_bias,
)


class FixedNormalization(Respelled):
    """Planes centred and scaled by kept statistics, `added` to them before that."""

    def __init__(
        self, original: LayerMap, normalization: PlaneNormalization, added: Param | None
    ) -> None:
        super().__init__(original)
        self.normalization = normalization
        self.added = added

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        found, planes = self.normalization, x.shape[-1]
        assert found.mean is not None
        assert found.variance is not None
        scale = tf.ones([planes]) if found.weight is None else at.variable(found.weight)
        offset = tf.zeros([planes]) if found.bias is None else at.variable(found.bias)
        variance = at.variable(found.variance)
        if self.added is not None:
            factor = tf.math.rsqrt(variance + found.eps) * scale
            offset = offset + at.variable(self.added) * factor
        return tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=scale,
            offset=offset,
            mean=at.variable(found.mean),
            variance=variance,
            epsilon=found.eps,
            is_training=False,
        ).y


def fuse_fixed_normalizations(graph: Graph) -> Graph:
    """Every normalisation of image batches by kept statistics respelled for its convolution."""
    instead: dict[int, Node] = {}
    for maker, node in pairs(graph):
        found = plane_normalization(node.op)
        if found is None or found.mean is None or not is_image_batch(node):
            continue
        added = bias_of(maker)
        if maker is not None and added is not None:
            instead[maker.outputs[0].id] = without_bias(maker)
        instead[node.outputs[0].id] = replace(node, op=FixedNormalization(node.op, found, added))
    return replaced(graph, instead)
