"""The number of multiply-adds of a layer's weights, from their declared axes alone.

A weight is applied once for every position of the output, or of the input in a full convolution;
a linear layer has one position for each sample. Elementwise arithmetic, biases and
look-ups are not counted.
"""

from __future__ import annotations

import math

from porter.ir.fields import Param
from porter.ir.graph import INT, Graph, Node

FEATURES = "OMYX"
"""Letters of axes that the output has too: planes, multiplier, local convolutions' positions."""


def multiply_adds(node: Node) -> int:
    """Multiply-adds of one layer at concrete sizes; a loop counts its body once for every step."""
    body = getattr(node.op, "body", None)
    if isinstance(body, Graph):
        steps = node.outputs[0].shape[0] if node.outputs[0].shape else 1
        return steps * sum(multiply_adds(inner) for inner in body.nodes)
    if not node.inputs or any(value.dtype == INT for value in node.inputs):
        return 0
    return sum(uses(param, node) for param in node.op.params().values())


def uses(param: Param, node: Node) -> int:
    """The elements of a weight times the number of times it is applied."""
    if len(param.axes) < 2 or "I" not in param.axes or not param.array.size:
        return 0
    sizes = dict(zip(param.axes, param.shape, strict=True))
    if param.to.endswith("OI") and len(param.axes) > 2:
        places = math.prod(node.inputs[0].shape) / sizes["I"]
    else:
        features = FEATURES + ("I" if "M" in param.axes else "")
        features_count = math.prod(size for letter, size in sizes.items() if letter in features)
        places = math.prod(node.outputs[0].shape) / features_count
    return round(param.array.size * places)
