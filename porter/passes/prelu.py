"""Learned slopes with fewer passes over memory: max(x, w·x) for slopes w in (0, 1].

Written as a choice between x and w·x a PReLU takes three passes, and TensorFlow fuses none of them.
One slope for all planes is a LeakyReLU, which TensorFlow fuses with the convolution in front; its
slope is an attribute and no variable.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from porter.ir.capabilities import HasSlopes
from porter.ir.fields import Param
from porter.ir.graph import Graph, Node
from porter.ir.layer_map import LayerMap
from porter.ir.layout import OpContext
from porter.passes.replacement_ops import ReplacementOp, is_image_batch


class LargerOfBoth(ReplacementOp):
    """The larger of x and slope · x, for one slope or one for each plane."""

    def __init__(self, original: LayerMap, slopes: Param) -> None:
        super().__init__(original)
        self.slopes = slopes

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        if self.slopes.shape == (1,):
            return tf.nn.leaky_relu(x, float(self.slopes.array[0]))
        return tf.maximum(x, x * at.variable(self.slopes))


def simplify_slopes(graph: Graph) -> Graph:
    """Rewrite every PReLU of image batches whose slopes allow it."""
    return replace(graph, nodes=tuple(map(simplified, graph.nodes)))


def simplified(node: Node) -> Node:
    """The node, rewritten if it is a PReLU with slopes in (0, 1].

    Not with a slope of 0: Torch has infinity where 0 · infinity is not a number.
    """
    op = node.op
    slopes = op.slopes() if isinstance(op, HasSlopes) and is_image_batch(node) else None
    if slopes is None or not np.all((slopes.array > 0) & (slopes.array <= 1)):
        return node
    return replace(node, op=LargerOfBoth(op, slopes))
