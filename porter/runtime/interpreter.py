"""Run the steps of a plan in order, on whatever `tf` is handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from porter.ir.layout import Layout, LayoutConversion, Plan, Step

Stored = tuple[int, Layout]
"""A value by id, in one of its layouts."""


def execute(
    tf: Any,
    plan: Plan,
    inputs: Mapping[int, Any],
    apply: Callable[[Step, list[Any]], list[Any]],
) -> dict[int, Any]:
    """Run all steps on stored input tensors; returns the stored outputs by value id.

    `apply` computes one node. Tensors that no later step reads are let go.
    """
    held: dict[Stored, Any] = {
        (identity, layout): inputs[identity] for identity, layout in plan.inputs.items()
    }
    last_read = _last_reads(plan)
    for position, step in enumerate(plan.steps):
        if isinstance(step, LayoutConversion):
            held[step.source.id, step.after] = step.apply(tf, held[step.source.id, step.before])
        else:
            taken = [
                held[value.id, layout]
                for value, layout in zip(step.node.inputs, step.inputs, strict=True)
            ]
            made = apply(step, taken)
            for value, layout, tensor in zip(step.node.outputs, step.outputs, made, strict=True):
                held[value.id, layout] = tensor
        for key in last_read.get(position, ()):
            held.pop(key, None)
    return {identity: held[identity, layout] for identity, layout in plan.outputs.items()}


def _last_reads(plan: Plan) -> dict[int, list[Stored]]:
    """After which step each stored tensor is needed no more."""
    last: dict[Stored, int] = {}
    for position, step in enumerate(plan.steps):
        if isinstance(step, LayoutConversion):
            last[step.source.id, step.before] = position
        else:
            for value, layout in zip(step.node.inputs, step.inputs, strict=True):
                last[value.id, layout] = position
    for identity, layout in plan.outputs.items():
        last.pop((identity, layout), None)
    ends: dict[int, list[Stored]] = {}
    for key, position in last.items():
        ends.setdefault(position, []).append(key)
    return ends
