"""The graph of a walked model: values, nodes, and the module calls that Torch would have made.

A `Graph` is purely functional: tables are resolved, in-place writes become new values, and one node
is one Torch layer (never lowered to smaller operations), so that every value of the graph can be
compared with an activation that Torch recorded.

Shapes are always in Torch's order (N×C×H×W). Layouts in TensorFlow are chosen in layout.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from porter.errors import InvariantError, ShapeMismatch
from porter.ir.nested import Nested, leaves, map_leaves

if TYPE_CHECKING:
    from porter.ir.layer_map import LayerMap
    from porter.torch7 import TorchObject

Shape = tuple[int, ...]
Place = tuple[int | str, ...]
"""Positions, from 0, and keys that lead to something inside nested tables."""

FLOAT = "float"
"""The dtype of tensors in the precision in which the graph is evaluated."""
INT = "int64"
"""The dtype of Long, Int and Byte tensors: indices, labels, masks."""


@dataclass(frozen=True)
class TensorType:
    """Shape (Torch order; `None` where it may differ from call to call) and dtype of a tensor."""

    shape: tuple[int | None, ...]
    dtype: str = FLOAT

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def static(self) -> Shape:
        """The shape as integers; raises ShapeMismatch where a size depends on the data."""
        if None in self.shape:
            raise ShapeMismatch(
                "a layer needs a size that depends on what the tensors hold", received=str(self)
            )
        return cast(Shape, self.shape)

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape is of this type."""
        return len(shape) == self.rank and all(
            size is None or size == extent for size, extent in zip(self.shape, shape, strict=True)
        )

    def __str__(self) -> str:
        return "×".join("?" if size is None else str(size) for size in self.shape) or "scalar"


Types = tuple[TensorType, ...]


@dataclass(frozen=True)
class Value:
    """One tensor, computed once and never changed.

    `storage` names the memory that Torch would have used: values with the same storage alias each
    other, so an in-place layer changes the inputs of its siblings.
    """

    id: int
    type: TensorType
    storage: int = -1

    @property
    def shape(self) -> Shape:
        return self.type.static

    @property
    def dtype(self) -> str:
        return self.type.dtype


@dataclass(frozen=True)
class Node:
    """One call of a Torch layer: `outputs = op(*inputs)`.

    `path` counts modules from 1 as Torch does (`12.1.2`), `count` the calls of that path; `origin`
    lists every Torch path that the node covers.
    """

    path: str
    op: LayerMap
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    origin: tuple[str, ...] = ()
    count: int = 1

    @property
    def typename(self) -> str:
        return self.op.typename


@dataclass(frozen=True)
class Call:
    """A call of a module, container or layer, that returned `output`, as Torch's recorder notes it.

    `count` tells repeated calls of the same path apart, from 1; a leaf called no other module.
    """

    path: str
    typename: str
    output: Nested[Value]
    count: int = 1
    is_leaf: bool = True
    module: TorchObject | None = None


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which they can be run; only `inputs` and `outputs` may be nested."""

    inputs: Nested[Value]
    nodes: tuple[Node, ...]
    outputs: Nested[Value]
    calls: tuple[Call, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    stacked: frozenset[Place] = frozenset()
    """Where in the outputs Torch has a table that is as long as some axis: its entries are stacked,
    and what stands there is one entry with that axis in front."""

    def values(self) -> Iterator[Value]:
        yield from leaves(self.inputs)
        for node in self.nodes:
            yield from node.outputs


def with_shapes(node: Node, shapes: Iterable[Sequence[int]]) -> Node:
    """The node on inputs of other shapes, one for each."""
    inputs = tuple(
        replace(value, type=replace(value.type, shape=tuple(shape)))
        for value, shape in zip(node.inputs, shapes, strict=True)
    )
    types = node.op.output_types(*(value.type for value in inputs))
    outputs = tuple(
        replace(value, type=type) for value, type in zip(node.outputs, types, strict=True)
    )
    return replace(node, inputs=inputs, outputs=outputs)


def verify(graph: Graph) -> None:
    """Raise InvariantError unless every value is computed once, and before it is read.

    A failure is a bug of porter, not of the model.
    """
    defined = {value.id: value for value in leaves(graph.inputs)}
    for node in graph.nodes:
        for value in node.inputs:
            if defined.get(value.id) != value:
                raise InvariantError(f"{node.path} reads {value} before it is computed")
        for value in node.outputs:
            if value.id in defined:
                raise InvariantError(f"{node.path} computes value {value.id} a second time")
            defined[value.id] = value
    for value in leaves(graph.outputs):
        if defined.get(value.id) != value:
            raise InvariantError(f"output {value} is never computed")


def rename(graph: Graph, values: dict[int, Value]) -> Graph:
    """The graph with each value replaced by the one of the same id in `values`."""

    def swap(value: Value) -> Value:
        return values.get(value.id, value)

    return Graph(
        inputs=map_leaves(swap, graph.inputs),
        nodes=tuple(
            replace(
                node,
                inputs=tuple(swap(v) for v in node.inputs),
                outputs=tuple(swap(v) for v in node.outputs),
            )
            for node in graph.nodes
        ),
        outputs=map_leaves(swap, graph.outputs),
        calls=tuple(replace(call, output=map_leaves(swap, call.output)) for call in graph.calls),
        notes=graph.notes,
        stacked=graph.stacked,
    )
