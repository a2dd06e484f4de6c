"""Products in 16 bits for the exported graph: what `precision=` asks for.

    bfloat16    float32's range with 8 binary digits; CPUs since 2020 multiply it twice as fast
    float16     11 digits, and nothing beyond 65,504; for GPUs

What each layer reads and computes:

    products          convolutions and matrix products: 16-bit factors, float32 sums, 16-bit results
    normalisations    of planes: 16-bit planes; statistics, scale and shift in float32
    movers            layers that only move elements of their inputs: any precision
    all others        float32

The last products, followed by elementwise layers at most, stay in float32: in an image 8 binary
digits would be visible. Variables stay float32, and so does the checkpoint.

Source: P. Micikevicius et al., Mixed precision training, 2018.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import Enum
from typing import Any

from porter.ir.fields import Param
from porter.ir.graph import Graph, Node, Types
from porter.ir.layer_map import LayerMap
from porter.ir.layout import Layouts, OpContext
from porter.ir.nested import leaves
from porter.passes.affine import FixedNormalization
from porter.passes.matchers import plane_axis
from porter.passes.normalization import FusedNormalization
from porter.passes.replacement_ops import ReplacementOp

FULL = "float32"
PRECISIONS = (FULL, "bfloat16", "float16")


class Kind(Enum):
    """What a layer is in the table above."""

    PRODUCT = "product"
    NORMALIZATION = "normalisation"
    MOVER = "mover"
    OTHER = "other"


class InPrecision(ReplacementOp):
    """`original`, of whatever shape, in the precision that its kind asks for."""

    def __init__(self, original: LayerMap, kind: Kind, precision: str) -> None:
        super().__init__(original)
        self.kind, self.precision = kind, precision

    def layouts(self, available: Layouts, inputs: Types, outputs: Types) -> tuple[Layouts, Layouts]:
        return self.original.layouts(available, inputs, outputs)

    def apply(self, tf: Any, *inputs: Any, at: OpContext) -> Any:
        dtype = tf.as_dtype(self.input_precision([x.dtype.name for x in inputs]))
        if self.kind is Kind.PRODUCT:

            def rounded(param: Param, rows: tuple[Any, ...]) -> Any:
                return cast(tf, make_variable(param, rows), dtype)

            make_variable = at.make_variable
            at = replace(at, make_variable=rounded, dtype=dtype)
        return self.original.apply(tf, *(cast(tf, x, dtype) for x in inputs), at=at)

    def input_precision(self, available: list[str]) -> str:
        """The precision in which the layer reads its inputs, which arrive in `available`."""
        if self.kind in (Kind.PRODUCT, Kind.NORMALIZATION):
            return self.precision
        agreed = len(set(available)) == 1 and available[0] in PRECISIONS
        return available[0] if self.kind is Kind.MOVER and agreed else FULL


def cast(tf: Any, x: Any, dtype: Any) -> Any:
    """Floating-point tensors in another precision; integers unchanged."""
    return tf.cast(x, dtype) if x.dtype.is_floating and x.dtype != dtype else x


def reduce_precision(graph: Graph, precision: str) -> Graph:
    """The graph with its products in 16 bits; unchanged for float32."""
    if precision == FULL:
        return graph
    last = last_products(graph.nodes, {value.id for value in leaves(graph.outputs)})
    nodes = []
    for node in graph.nodes:
        kind = Kind.OTHER if node.outputs[0].id in last else kind_of(node)
        nodes.append(replace(node, op=InPrecision(node.op, kind, precision)))
    return replace(graph, nodes=tuple(nodes))


def kind_of(node: Node) -> Kind:
    """How a layer is computed in fewer digits."""
    op = node.op
    inner = op.original if isinstance(op, ReplacementOp) else op
    weight = inner.params().get("weight")
    if weight is not None and len(weight.axes) > 1:
        linear = plane_axis(replace(node, op=inner)) is not None
        return Kind.PRODUCT if linear else Kind.OTHER
    if isinstance(op, FusedNormalization):
        together = op.normalization.over_batch or node.inputs[0].type.shape[0] == 1
        return Kind.NORMALIZATION if together else Kind.OTHER
    if isinstance(op, FixedNormalization):
        return Kind.NORMALIZATION
    return Kind.MOVER if inner.moves else Kind.OTHER


def last_products(nodes: Iterable[Node], outputs: set[int]) -> set[int]:
    """First outputs of the products on the way to `outputs` with no product after them."""
    found: set[int] = set()
    open_ends = set(outputs)
    for node in reversed(list(nodes)):
        if not open_ends & {value.id for value in node.outputs}:
            continue
        if kind_of(node) is Kind.PRODUCT:
            found.add(node.outputs[0].id)
        else:
            open_ends |= {value.id for value in node.inputs}
    return found
