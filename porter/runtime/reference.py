"""Run a graph in NumPy, layer by layer, in Torch's order: porter's own oracle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from porter.errors import InvariantError
from porter.ir.fields import Array
from porter.ir.graph import FLOAT, Graph, Node, Value
from porter.ir.layout import LayoutConversion, Step, from_torch, plan_in_torch_order, to_torch
from porter.ir.map_errors import attribute_errors
from porter.ir.nested import leaves
from porter.runtime.interpreter import interpret, output_list


def run_node(node: Node, inputs: tuple[Array, ...], precision: type = np.float64) -> list[Array]:
    """The outputs of one node, computed in `precision`, to which floating-point inputs are cast.

    Raises InvariantError, attributed to the layer map, where a shape is not what its rule says.
    """
    with attribute_errors(type(node.op), node.path, node.typename):
        with np.errstate(all="ignore"):
            cast = [
                array.astype(precision) if value.dtype == FLOAT else array
                for value, array in zip(node.inputs, inputs, strict=True)
            ]
            result = node.op.reference(*cast)
        outputs = output_list(node, result)
        return [
            checked(node, value, np.asarray(array)).astype(dtype(value, precision), copy=False)
            for value, array in zip(node.outputs, outputs, strict=True)
        ]


def checked(node: Node, value: Value, array: Array) -> Array:
    """`array`, if it has the shape that the layer map's own rule says. Raises InvariantError."""
    if not value.type.admits(array.shape):
        raise InvariantError(
            f"{node.path} ({node.typename}): the reference computes {array.shape}, "
            f"the shape rule says {value.type}"
        )
    return array


def dtype(value: Value, precision: type) -> type:
    """The NumPy dtype of a value's array."""
    return precision if value.dtype == FLOAT else np.int64


@dataclass
class NumPyBackend:
    """Layers by their `reference`."""

    precision: type

    def apply(self, step: Step, inputs: list[Array]) -> list[Array]:
        return run_node(step.node, tuple(inputs), self.precision)

    def convert(self, step: LayoutConversion, tensor: Array) -> Array:
        return from_torch(to_torch(tensor, step.before), step.after)


@dataclass
class KeepingBackend(NumPyBackend):
    """Keeps every value by id."""

    values: dict[int, Array]

    def apply(self, step: Step, inputs: list[Array]) -> list[Array]:
        outputs = super().apply(step, inputs)
        self.values |= zip((value.id for value in step.node.outputs), outputs, strict=True)
        return outputs


def run(
    graph: Graph, inputs: Mapping[int, Array], precision: type = np.float64
) -> dict[int, Array]:
    """Every value of the graph by id, computed from `inputs` by id."""
    backend = KeepingBackend(precision, fed(graph, inputs, precision))
    interpret(plan_in_torch_order(graph), dict(backend.values), backend)
    return backend.values


def outputs(
    graph: Graph, inputs: Mapping[int, Array], precision: type = np.float64
) -> dict[int, Array]:
    """The graph's outputs by id; everything else is let go when no later layer reads it."""
    plan = plan_in_torch_order(graph)
    return interpret(plan, fed(graph, inputs, precision), NumPyBackend(precision))


def fed(graph: Graph, inputs: Mapping[int, Array], precision: type) -> dict[int, Array]:
    """The graph's inputs by id, as the layers read them."""
    return {
        value.id: inputs[value.id].astype(dtype(value, precision)) for value in leaves(graph.inputs)
    }
