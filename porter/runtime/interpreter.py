"""Run a plan step by step: the one interpreter, whatever a `Backend` computes with.

    outputs = interpret(plan, {value.id: tensor for …}, backend)

A backend says how one step runs; the interpreter finds each step's inputs, keeps its outputs and
drops what no later step reads. Tensors are whatever the backend makes of them:

    runner.TensorFlowBackend     tensors of TensorFlow, or of a stand-in for it
    reference.NumPyBackend       arrays, in a plan in Torch's order
    LayerCalls                   layer maps called directly: bodies of loops, groups of nodes

A recorder computes with its symbols; it learns which value a tensor is, and in which layout, from
the step passed to `apply` and `convert`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from porter.errors import InvariantError
from porter.ir.graph import Node
from porter.ir.layout import Layout, LayoutConversion, OpContext, Plan, Step
from porter.ir.liveness import dead_after

T = TypeVar("T")
StoredValue = tuple[int, Layout]
"""The id of a value, and one of its layouts."""


class Backend(Protocol[T]):
    """How the steps of a plan are computed on tensors of one kind."""

    def apply(self, step: Step, inputs: list[T]) -> list[T]:
        """The outputs of a node, one for each of `step.node.outputs`, as `step.outputs` says."""

    def convert(self, step: LayoutConversion, tensor: T) -> T:
        """The same value in layout `step.after`."""


def interpret(plan: Plan, inputs: Mapping[int, T], backend: Backend[T]) -> dict[int, T]:
    """Run all steps on stored inputs by value id; returns the stored outputs by value id."""
    tensors: dict[StoredValue, T] = {
        (identity, layout): inputs[identity] for identity, layout in plan.inputs.items()
    }
    dead = dead_after(map(used_by, plan.steps), plan.outputs.items())
    for position, step in enumerate(plan.steps):
        if isinstance(step, LayoutConversion):
            before = tensors[step.source.id, step.before]
            tensors[step.source.id, step.after] = backend.convert(step, before)
        else:
            outputs = backend.apply(step, [tensors[key] for key in read_by(step)])
            tensors.update(zip(written_by(step), outputs, strict=True))
        for key in dead.get(position, ()):
            del tensors[key]
    return {identity: tensors[identity, layout] for identity, layout in plan.outputs.items()}


def read_by(step: Step) -> Iterable[StoredValue]:
    """What a node reads."""
    return zip((value.id for value in step.node.inputs), step.inputs, strict=True)


def written_by(step: Step) -> Iterable[StoredValue]:
    """What a node computes."""
    return zip((value.id for value in step.node.outputs), step.outputs, strict=True)


def used_by(step: Step | LayoutConversion) -> Iterable[StoredValue]:
    """Everything that a step reads or computes."""
    if isinstance(step, LayoutConversion):
        return (step.source.id, step.before), (step.source.id, step.after)
    return *read_by(step), *written_by(step)


def output_list(node: Node, result: Any) -> list[Any]:
    """What a layer map returned, as a list of the outputs. Raises InvariantError."""
    outputs = list(result) if isinstance(result, tuple | list) else [result]
    if len(outputs) != len(node.outputs):
        raise InvariantError(
            f"{node.typename} returns {len(outputs)} outputs, its shape rule {len(node.outputs)}"
        )
    return outputs


@dataclass(frozen=True)
class LayerCalls:
    """Layer maps called with `tf`, or a stand-in for it, in the contexts of their steps."""

    tf: Any
    context: Callable[[Step], OpContext]

    def apply(self, step: Step, inputs: list[Any]) -> list[Any]:
        op, at = step.node.op, self.context(step)
        compute = op.train if at.training else op.apply
        return output_list(step.node, compute(self.tf, *inputs, at=at))

    def convert(self, step: LayoutConversion, tensor: Any) -> Any:
        return step.apply(self.tf, tensor)
