"""Layers computed by other operations than their map's: what rewrites put into a graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

from porter.ir.fields import Array, Param
from porter.ir.graph import FLOAT, Graph, Node, TensorType, Types
from porter.ir.layer_map import Accepts, LayerMap
from porter.ir.layout import Layouts, channels_last
from porter.ir.liveness import reader_counts
from porter.passes.matchers import plane_axis


class ReplacementOp(LayerMap):
    """`original` computed differently on batches of images, channels last.

    The shape rule and the reference stay the original's.
    """

    accepts: ClassVar[Accepts] = Accepts.CHANNELS_LAST
    wants_one_sample: bool = False
    """Whether a batch of one takes fewer operations than a larger one."""

    def __init__(self, original: LayerMap) -> None:
        super().__init__()
        self.original = original
        self.typename = original.typename

    def params(self) -> dict[str, Param]:
        return self.original.params()

    def output_types(self, *inputs: TensorType) -> Types:
        return self.original.output_types(*inputs)

    def reference(self, *inputs: Any, **_: Any) -> Array | tuple[Array, ...]:
        return self.original.reference(*inputs)

    def layouts(self, available: Layouts, inputs: Types, outputs: Types) -> tuple[Layouts, Layouts]:
        orders = tuple(channels_last(each.rank, each.rank - 2) for each in inputs)
        return orders, tuple(channels_last(each.rank, each.rank - 2) for each in outputs)


def is_image_batch(node: Node) -> bool:
    """Whether a node maps one N×C×H×W tensor of floats to another."""
    values = (*node.inputs, *node.outputs)
    counts = len(node.inputs), len(node.outputs)
    return counts == (1, 1) and all(v.type.rank == 4 and v.dtype == FLOAT for v in values)


def pairs(graph: Graph) -> Iterator[tuple[Node | None, Node]]:
    """Every node with the producer of its first input, if it is the only reader of that input."""
    readers = reader_counts(graph)
    makers: dict[int, Node] = {}
    for node in graph.nodes:
        first = node.inputs[0].id if node.inputs else None
        maker = makers.get(first) if first is not None and readers[first] == 1 else None
        yield maker, node
        makers |= {value.id: node for value in node.outputs}


def bias_of(maker: Node | None) -> Param | None:
    """The bias that a node adds to each of its planes, if the node works without it."""
    if maker is None or not is_image_batch(maker):
        return None
    if plane_axis(maker) != 1 or "bias" not in maker.op.fields():
        return None
    bias = maker.op.params().get("bias")
    return bias if bias is not None and bias.axes == "O" else None


def without_bias(node: Node) -> Node:
    """The node without its bias."""
    return replace(node, op=node.op.evolve(bias=None))


def replaced(graph: Graph, instead: dict[int, Node]) -> Graph:
    """The graph with nodes replaced, by the id of their first output."""
    nodes = (instead.get(node.outputs[0].id, node) for node in graph.nodes)
    return replace(graph, nodes=tuple(nodes))
