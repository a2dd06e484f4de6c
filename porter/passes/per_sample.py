"""Process one sample after another where that is faster than the batch at once.

Normalisations by a sample's own statistics take fewer operations for one sample
(normalization.py), and a layer's output for one image is still in the cache when the next layer
reads it. On two cores eight images of 256×256 take eight times as long as one, and less memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from porter.ir.capabilities import BySample
from porter.ir.graph import FLOAT, Graph, Node, TensorType, rename
from porter.ir.layer_map import Accepts
from porter.ir.nested import leaves
from porter.passes.matchers import plane_normalization
from porter.passes.replacement_ops import ReplacementOp
from porter.passes.winograd_regions import WinogradRegion


def one_sample(graph: Graph) -> Graph | None:
    """The graph for a batch of one; None where that is not faster, or samples interact."""
    ends = (*leaves(graph.inputs), *leaves(graph.outputs))
    faster = any(getattr(node.op, "wants_one_sample", False) for node in graph.nodes)
    batches = all(v.type.rank == 4 and v.dtype == FLOAT and v.type.shape[0] is None for v in ends)
    if not (faster and batches and all(map(is_sample_by_sample, graph.nodes))):
        return None
    return rename(
        graph,
        {
            value.id: replace(value, type=TensorType((1, *value.type.shape[1:]), value.dtype))
            for value in graph.values()
        },
    )


def is_sample_by_sample(node: Node) -> bool:
    """Whether each sample of a node's output depends on that sample of its inputs alone."""
    if any(value.type.shape[:1] != (None,) for value in (*node.inputs, *node.outputs)):
        return False
    if isinstance(node.op, WinogradRegion):
        return all(map(is_sample_by_sample, node.op.nodes))
    if isinstance(node.op, ReplacementOp):
        found = plane_normalization(node.op.original)
        return found is None or not found.over_batch
    if isinstance(node.op, BySample):
        return node.op.is_by_sample()
    return node.op.accepts in (Accepts.CHANNELS_LAST, Accepts.ELEMENTWISE)


def sample_by_sample(
    tf: Any, compute: Callable[..., dict[str, Any]], tensors: Sequence[Any], names: Sequence[str]
) -> dict[str, Any]:
    """The outputs of `compute`, by `names`, for each sample as a batch of one, stacked again."""

    def one(sample: tuple[Any, ...]) -> dict[str, Any]:
        outputs = compute(*(tf.expand_dims(tensor, 0) for tensor in sample))
        return {name: tf.squeeze(tensor, 0) for name, tensor in outputs.items()}

    types = dict.fromkeys(names, tensors[0].dtype)
    outputs: dict[str, Any] = tf.map_fn(
        one, tuple(tensors), fn_output_signature=types, parallel_iterations=1
    )
    return outputs
