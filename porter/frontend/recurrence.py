"""Walk modules that remember into loops over time.

A structure rule calls `loop(walk, step, sequences)`. `step` is walked once, on one element of each
sequence, and what it emits becomes the body of one `Loop` node. Recurrent modules inside ask
`previous` for their state of the step before and leave the new one with `keep`; outside of a loop
the same two functions pass a state from one call of a module to its next.

A state starts from zeros, or from a tensor in the file, at every run of the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from porter.errors import ShapeMismatch, WalkError
from porter.frontend.loop import Loop
from porter.frontend.memory import TensorStorage
from porter.frontend.walker import Walk
from porter.ir.fields import Array, Param, optional_integer, raw
from porter.ir.graph import INT, Call, Graph, Node, Shape, TensorType, Types, Value, verify
from porter.ir.layer_map import LayerMap
from porter.ir.layout import OpContext, size
from porter.ir.nested import Nested, leaves, map_leaves, same_structure
from porter.torch7 import TorchObject


class InitialState(LayerMap):
    """A state before the first step: zeros, or the tensor that the file gives for it.

    `sample` is its shape without the batch, which is axis `axis` of the input; None: no batch.
    """

    sample = raw("sample")
    axis = optional_integer("axis")
    initial = raw("initial")
    shape_only = (0,)

    def output_types(self, *inputs: TensorType) -> Types:
        if self.initial is not None:
            return (TensorType(self.initial.shape),)
        batch = () if self.axis is None else (inputs[0].static[self.axis],)
        return (TensorType((*batch, *self.sample)),)

    def reference(self, x: Array) -> Array:
        if self.initial is not None:
            return np.asarray(self.initial.array)
        batch = () if self.axis is None else (x.shape[self.axis],)
        return np.zeros((*batch, *self.sample))

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        if self.initial is not None:
            return tf.identity(at.variable(self.initial))
        batch = [] if self.axis is None else [size(tf, x, self.axis)]
        return tf.zeros([*batch, *self.sample], at.dtype)


@dataclass(frozen=True)
class Start:
    """What a state is before the first step: `shape` (batch first if `batched`) of zeros, or a
    tensor of the file.
    """

    shape: Shape
    batched: bool
    initial: Param | None = None

    def before(self, like: Value, axis: int = 0) -> tuple[InitialState, Value]:
        """The layer that makes it, from axis `axis` of `like`."""
        if not self.batched:
            return InitialState(sample=self.shape, initial=self.initial), like
        return InitialState(sample=self.shape[1:], axis=axis, initial=self.initial), like


@dataclass
class Frame:
    """A loop whose body is being walked: collects the states that modules ask for.

    `anchors` are values from outside, each with the axis that may be the batch.
    """

    number: Value
    anchors: list[tuple[Value, int]]
    before: dict[int, Nested[Value]] = field(default_factory=dict)
    initial: list[tuple[InitialState, Value]] = field(default_factory=list)

    def carry(self, walk: Walk, key: int, start: Nested[Start]) -> Nested[Value]:
        """Make a module's state one of the loop's; returns it as it is before a step."""
        self.before[key] = map_leaves(lambda each: walk.new_value(TensorType(each.shape)), start)
        self.initial.extend(self.outside(each) for each in leaves(start))
        return self.before[key]

    def outside(self, start: Start) -> tuple[InitialState, Value]:
        """How the state is made before the loop."""
        for value, axis in self.anchors:
            if start.batched and value.type.rank > axis and value.shape[axis] == start.shape[0]:
                return start.before(value, axis)
        return replace(start, batched=False).before(self.anchors[0][0])


@dataclass
class Memory:
    """What recurrent modules made last, by index of the module; `frame` if inside a loop."""

    frame: Frame | None = None
    last: dict[int, Nested[Value]] = field(default_factory=dict)
    steps: Counter[int] = field(default_factory=Counter)


def memory(walk: Walk) -> Memory:
    """The memory of the innermost loop, or of the model."""
    found: Memory = walk.shared.setdefault("recurrent", Memory())
    return found


@contextmanager
def forgetting(walk: Walk, frame: Frame | None = None) -> Iterator[Memory]:
    """Inside, every recurrent module starts afresh; afterwards nothing of it is remembered."""
    outer = memory(walk)
    walk.shared["recurrent"] = inside = Memory(frame)
    try:
        yield inside
    finally:
        walk.shared["recurrent"] = outer


def previous(walk: Walk, module: TorchObject, start: Nested[Start], like: Value) -> Nested[Value]:
    """The state that `module` left at its last call; `like` has the batch of the first."""
    states = memory(walk)
    if module.index in states.last:
        return walk.current(states.last[module.index])
    if states.frame is not None:
        return states.frame.carry(walk, module.index, start)
    return map_leaves(lambda each: walk.run(*each.before(like))[0], start)


def keep(walk: Walk, module: TorchObject, state: Nested[Value]) -> None:
    """Leave a state for the module's next call."""
    memory(walk).last[module.index] = state


@contextmanager
def step_clone(walk: Walk, module: TorchObject) -> Iterator[None]:
    """Inside, the modules of a recurrent module are those of its next step.

    In training every step has a clone with outputs of its own (AbstractRecurrent.lua
    `getStepModule`); in evaluation all steps share one (`train` false).
    """
    steps = memory(walk).steps
    steps[module.index] += 1
    if walk.model.options.in_training(module, default=True):
        with walk.cloned("step", module.index, steps[module.index]):
            yield
    else:
        yield


@dataclass
class Part:
    """What was walked while nodes and calls were collected apart."""

    nodes: list[Node] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)


@contextmanager
def apart(walk: Walk) -> Iterator[Part]:
    """Collect nodes and calls in a part of their own."""
    outer = walk.nodes, walk.calls
    part = Part()
    walk.nodes, walk.calls = part.nodes, part.calls
    try:
        yield part
    finally:
        walk.nodes, walk.calls = outer


def loop(
    walk: Walk,
    step: Callable[[Nested[Value]], Nested[Value]],
    sequences: Nested[Value],
    steps: int | None = None,
    like: Value | None = None,
) -> Nested[Value]:
    """Walk `step` once on an element of every sequence (T × …), and emit it as a loop.

    Returns what `step` returns, with all steps stacked in front. Without sequences (an empty list)
    `steps` says how often, and `like` has the batch in front.
    """
    whole = list(leaves(walk.current(sequences)))
    number = walk.new_value(TensorType((), INT))
    elements = map_leaves(
        lambda value: walk.new_value(TensorType(value.shape[1:], value.dtype)), sequences
    )
    frame = Frame(number, [(value, 1) for value in whole] if like is None else [(like, 0)])
    noted, overwritten = len(walk.memory.notes), len(walk.memory.overwritten)
    with (
        apart(walk) as part,
        forgetting(walk, frame) as states_after,
        walk.cloned("loop", number.id),
    ):
        outputs_of_step = walk.resolve_all(step(elements))
        after = {key: walk.resolve_all(states_after.last[key]) for key in frame.before}
        # A step that overwrites its element overwrites the sequence: the loop returns that too.
        changed = [
            (value, walk.resolve(element))
            for value, element in zip(whole, leaves(elements), strict=True)
            if walk.resolve(element) is not element
        ]
    walk.memory.forget(since=noted, before=number.id)
    refuse_outer_writes(walk.memory.overwritten[overwritten:], number)
    for key, before in frame.before.items():
        check_state(before, after[key])
    outputs = [*leaves(outputs_of_step), *(now for _, now in changed)]
    states = [value for state in frame.before.values() for value in leaves(state)]
    initial = [walk.run(op, anchor)[0] for op, anchor in frame.initial]
    handed_on = [*outputs, *(value for state in after.values() for value in leaves(state))]
    constants = read_from_outside(part.nodes, handed_on, number)
    body = Graph(
        [number, *leaves(elements), *states, *constants],
        tuple(part.nodes),
        list(handed_on),
        tuple(part.calls),
    )
    verify(body)
    op = Loop(body=body, sequences=len(whole), states=len(states), steps=steps)
    tensors = [walk.memory.tensor(value) for value in (*whole, *initial)]
    results = walk.call_op(op, [*tensors, *(walk.memory.constant(value) for value in constants)])
    for (value, _), now in zip(changed, results[len(results) - len(changed) :], strict=True):
        walk.overwrite(value, now)
    in_order = iter(results)
    return map_leaves(lambda _: next(in_order), outputs_of_step)


def check_state(before: Nested[Value], after: Nested[Value]) -> None:
    """A step must leave a state of the shape that it took."""
    shapes = [", ".join(str(value.type) for value in leaves(state)) for state in (before, after)]
    if not same_structure(before, after) or shapes[0] != shapes[1]:
        raise ShapeMismatch(
            f"a recurrent module takes a state of {shapes[0]} and must leave one",
            received=shapes[1],
        )


def read_from_outside(nodes: list[Node], outputs: list[Value], number: Value) -> list[Value]:
    """Values made before the loop that its body reads or hands on."""
    read = [value for node in nodes for value in node.inputs] + outputs
    return list({value.id: value for value in read if value.id < number.id}.values())


def refuse_outer_writes(overwritten: list[TensorStorage], number: Value) -> None:
    """A body may overwrite the elements it is given, and nothing else from outside."""
    if any(storage.number < number.id for storage in overwritten):
        raise WalkError(
            "a module overwrites, at every step of a loop, a tensor that was made before the loop",
            hint="clear its `inplace` flag in Torch and save the model again",
        )
