"""Run a graph in NumPy, layer by layer, in Torch's order: porter's own oracle."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from porter.ir.fields import Array
from porter.ir.graph import FLOAT, Graph, Node
from porter.ir.map_errors import attribute_errors
from porter.ir.nested import leaves


def run_node(node: Node, inputs: tuple[Array, ...], precision: type = np.float64) -> list[Array]:
    """The outputs of one node; floating inputs are taken in `precision`, and so are outputs."""
    cast = [
        array.astype(precision) if value.dtype == FLOAT else array
        for value, array in zip(node.inputs, inputs, strict=True)
    ]
    with attribute_errors(type(node.op), node.path, node.typename):
        with np.errstate(all="ignore"):
            result = node.op.reference(*cast)
        outputs = list(result) if isinstance(result, tuple) else [result]
        assert len(outputs) == len(node.outputs), f"{node.typename} made {len(outputs)} outputs"
        made: list[Array] = []
        for value, array in zip(node.outputs, outputs, strict=True):
            array = np.asarray(array)
            assert value.type.admits(array.shape), (
                f"{node.path} ({node.typename}): the reference makes {array.shape}, "
                f"the shape rule says {value.type}"
            )
            made.append(array.astype(precision if value.dtype == FLOAT else np.int64, copy=False))
    return made


def run(
    graph: Graph, inputs: Mapping[int, Array], precision: type = np.float64
) -> dict[int, Array]:
    """Every value of the graph by id, for the given input values."""
    values: dict[int, Array] = {}
    for value in leaves(graph.inputs):
        array = inputs[value.id]
        values[value.id] = array.astype(precision if value.dtype == FLOAT else np.int64)
    for node in graph.nodes:
        made = run_node(node, tuple(values[v.id] for v in node.inputs), precision)
        values.update({v.id: array for v, array in zip(node.outputs, made, strict=True)})
    return values
