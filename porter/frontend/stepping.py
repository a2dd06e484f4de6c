"""A model that goes on where it stopped: the states of its sequence layers as inputs and outputs.

Torch's language models remember their states between calls (`remember_states`). A port does not,
and every call starts from zeros. Walked by `Resumable`, the same model takes the states that it
should start from and gives those that it ends with, so that text is sampled token by token.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any

from porter.errors import WalkError
from porter.frontend.walker import Model, Walk
from porter.ir.declared import Declared
from porter.ir.fields import Array, Param, raw
from porter.ir.graph import Graph, Shape, TensorType, Value, verify
from porter.ir.layer_map import LayerMap
from porter.ir.layout import OpContext
from porter.ir.nested import Nested, leaves, map_leaves


class HasStates(LayerMap):
    """A layer over N×T×… or T×N×… whose states after the last step another call can start from.

    It takes the states before the first step in front of its input. The output is the first of
    what `reference_states` and `apply_states` give, the states follow.
    """

    @abc.abstractmethod
    def time_axis(self) -> int:
        """Which axis of an input holds the steps of time."""

    @abc.abstractmethod
    def states(self, x: TensorType) -> tuple[Shape, ...]:
        """The shapes of all states for an input; none where they cannot be handed on."""

    @abc.abstractmethod
    def reference_states(self, *inputs: Array) -> tuple[Array, ...]:
        """Output and states in NumPy."""

    @abc.abstractmethod
    def apply_states(self, tf: Any, *inputs: Any, at: OpContext) -> tuple[Any, ...]:
        """Output and states in TensorFlow."""

    def reference(self, *inputs: Array) -> Array:
        return self.reference_states(*inputs)[0]

    def apply(self, tf: Any, *inputs: Any, at: OpContext) -> Any:
        return self.apply_states(tf, *inputs, at=at)[0]


class WithStates(LayerMap):
    """A layer that gives its states behind its output."""

    layer = raw("layer")

    def params(self) -> dict[str, Param]:
        found: dict[str, Param] = self.layer.params()
        return found

    def same_as(self, other: Declared) -> bool:
        return isinstance(other, WithStates) and self.layer.same_as(other.layer)

    def output_types(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        shapes = self.layer.states(inputs[-1])
        return (*self.layer.output_types(*inputs), *map(TensorType, shapes))

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        outputs: tuple[Array, ...] = self.layer.reference_states(*inputs)
        return outputs

    def apply(self, tf: Any, *inputs: Any, at: OpContext) -> Any:
        return self.layer.apply_states(tf, *inputs, at=at)


class Resuming(Walk):
    """A walk with a list of inputs: that of the model, then all states in the order of layers."""

    def graph(self, inputs: Nested[TensorType]) -> Graph:
        values = map_leaves(self.new_value, inputs)
        x, *before = leaves(values)
        self.before, self.after = before, list[Value]()
        output = self.resolve_all(self(self.model.root, x))
        if len(self.after) != len(before):
            raise WalkError(f"the model has {len(self.after)} states", received=str(len(before)))
        graph = Graph(
            values,
            tuple(self.nodes),
            [output, *map(self.resolve, self.after)],
            tuple(self.calls),
            tuple(sorted(self.notes.items())),
        )
        verify(graph)
        return graph

    def run(self, op: LayerMap, *inputs: Value) -> tuple[Value, ...]:
        shapes = op.states(inputs[0].type) if isinstance(op, HasStates) and len(inputs) == 1 else ()
        if not shapes:
            return super().run(op, *inputs)
        first = len(self.after)
        initial = self.before[first : first + len(shapes)]
        layer = WithStates(layer=op)
        layer.typename = op.typename
        output, *states = super().run(layer, *initial, *inputs)
        self.after += states
        return (output,)


class StateShapes(Walk):
    """An ordinary walk that notes the shapes of all states."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.found: list[Shape] = []

    def run(self, op: LayerMap, *inputs: Value) -> tuple[Value, ...]:
        if isinstance(op, HasStates) and len(inputs) == 1:
            self.found += op.states(inputs[0].type)
        return super().run(op, *inputs)


@dataclass
class Resumable(Model):
    """The same model, walked with a list of its input and its states."""

    def walk(self, inputs: Nested[TensorType]) -> Graph:
        return self.walk_with(Resuming, inputs)


def resumable(model: Model) -> Resumable:
    """With the layer maps of `model`, and so its variables."""
    return Resumable(model.root, model.registry, model.options, model.ops)


def with_states(model: Model, x: TensorType) -> list[TensorType]:
    """The input and all states, as `Resumable` takes them; without states just the input."""
    walk = StateShapes(model)
    walk.graph(x)
    return [x, *map(TensorType, walk.found)]
