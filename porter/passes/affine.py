"""Normalisation by running statistics, fused with the convolution in front of it.

    y = (conv(z) + b - mean) / sqrt(var + eps) · weight + bias

TensorFlow on CPU fuses FusedBatchNormV3 after a Conv2D without a bias, and a ReLU after both, into
the convolution, while its results are still in registers. So the convolution's bias b moves into
that of the normalisation: bias + b · weight / sqrt(var + eps). The statistics stay variables;
folding them into the filters would write a second copy of all filters.

Not so before a Tanh: TensorFlow's remapper fuses that as well, into an operation that its CPU
kernels do not have ("Fusion is not implemented: [FusedBatchNorm,Tanh]", remapper.cc and
conv_ops_fused_impl.h of TensorFlow 2.21).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from porter.ir.capabilities import PlaneNormalization, Skippable
from porter.ir.fields import Param
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


class FixedNormalization(ReplacementOp):
    """Planes centred and scaled by running statistics, after `added` (a bias) is added to them."""

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
    """Fuse every normalisation of image batches by running statistics with its convolution."""
    instead: dict[int, Node] = {}
    before_tanh = values_before_tanh(graph)
    for maker, node in pairs(graph):
        found = plane_normalization(node.op)
        if found is None or found.mean is None or not is_image_batch(node):
            continue
        if maker is not None and node.outputs[0].id in before_tanh:
            continue
        added = bias_of(maker)
        if maker is not None and added is not None:
            instead[maker.outputs[0].id] = without_bias(maker)
        instead[node.outputs[0].id] = replace(node, op=FixedNormalization(node.op, found, added))
    return replaced(graph, instead)


def values_before_tanh(graph: Graph) -> set[int]:
    """The ids of all values that reach a Tanh as they are, perhaps through identities."""
    found: set[int] = set()
    for node in reversed(graph.nodes):
        skipped = isinstance(node.op, Skippable) and node.op.is_identity()
        if node.op.applies_tanh or (skipped and node.outputs[0].id in found):
            found.update(value.id for value in node.inputs)
    return found
