"""A sub-graph that runs once for every step of a sequence and hands its states to the next step.

The only node that holds nodes. `recurrence.py` walks modules into one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from porter.ir.capabilities import Mergeable
from porter.ir.fields import Array, integer, optional_integer, raw
from porter.ir.graph import FLOAT, TensorType, Types, Value
from porter.ir.layer_map import LayerMap
from porter.ir.layout import OpContext, plan, size
from porter.ir.merge import merge
from porter.ir.nested import leaves
from porter.runtime import reference
from porter.runtime.interpreter import LayerCalls, interpret


class Loop(LayerMap, Mergeable):
    """(o₁ … o_T), where (o_t, s_t) = body(t, x_t, s_(t-1), constants).

    Takes the sequences (T × …), the states before the first step, and what the body reads from
    outside; gives the outputs of all steps (T × …). `body` takes the step's number first, counted
    from 0, and gives its outputs before its states. Without a sequence, `steps` says how often.
    """

    body = raw("body")
    sequences = integer("sequences")
    states = integer("states")
    steps = optional_integer("steps")

    def merged(self, other: object) -> Loop | None:
        """Bodies may differ in sizes, as the graphs around them do."""
        if not isinstance(other, Loop) or self.counts() != other.counts():
            return None
        if len(self.body.inputs) != len(other.body.inputs):
            return None
        body = merge(self.body, other.body)
        return None if body is None else self.evolve(body=body)

    def counts(self) -> dict[str, int | None]:
        return {"sequences": self.sequences, "states": self.states, "steps": self.steps}

    def split(self, xs: tuple[Any, ...]) -> tuple[list[Any], list[Any], list[Any]]:
        """The inputs as sequences, states and constants."""
        first, second = self.sequences, self.sequences + self.states
        return list(xs[:first]), list(xs[first:second]), list(xs[second:])

    @property
    def results(self) -> list[Value]:
        """What the body computes: outputs, then states."""
        return list(leaves(self.body.outputs))

    def output_types(self, *inputs: TensorType) -> Types:
        steps = inputs[0].static[0] if self.steps is None else self.steps
        outputs = self.results[: len(self.results) - self.states]
        return tuple(TensorType((steps, *value.type.shape), value.dtype) for value in outputs)

    def reference(self, *xs: Array) -> tuple[Array, ...]:
        sequences, states, constants = self.split(xs)
        floating = (x.dtype.type for x in xs if np.issubdtype(x.dtype, np.floating))
        precision = next(floating, np.float64)
        outputs: list[list[Array]] = []
        for number in range(len(sequences[0]) if self.steps is None else self.steps):
            arguments = [np.asarray(number), *(x[number] for x in sequences), *states, *constants]
            identities = (value.id for value in leaves(self.body.inputs))
            inputs = dict(zip(identities, arguments, strict=True))
            values = reference.run(self.body, inputs, precision)
            results = [values[value.id] for value in self.results]
            states = results[len(results) - self.states :]
            outputs.append(results[: len(results) - self.states])
        return tuple(np.stack(each) for each in zip(*outputs, strict=True))

    def apply(self, tf: Any, *xs: Any, at: OpContext) -> Any:
        sequences, states, constants = self.split(xs)
        # Nothing outside of the body knows in which layout it would like its images.
        body = plan(self.body, "channels_first")
        identities = [value.id for value in leaves(self.body.inputs)]
        calls = LayerCalls(tf, at.inner)

        def one(number: Any, elements: list[Any], before: list[Any]) -> tuple[list[Any], list[Any]]:
            arguments = [tf.cast(number, tf.int64), *elements, *before, *constants]
            values = interpret(body, dict(zip(identities, arguments, strict=True)), calls)
            results = [values[value.id] for value in self.results]
            return results[: len(results) - self.states], results[len(results) - self.states :]

        steps = size(tf, sequences[0], 0) if self.steps is None else self.steps
        shapes = [value.type.shape for value in self.results]
        dtypes = [at.dtype if value.dtype == FLOAT else tf.int64 for value in self.results]
        return over_time(tf, one, steps, sequences, states, shapes, dtypes)


def over_time(
    tf: Any,
    step: Callable[[Any, list[Any], list[Any]], tuple[list[Any], list[Any]]],
    steps: Any,
    sequences: list[Any],
    states: list[Any],
    shapes: Sequence[tuple[int | None, ...]],
    dtypes: list[Any],
) -> tuple[Any, ...]:
    """Stacked outputs of `outputs, states = step(number, elements, states)`, called `steps` times.

    `shapes` and `dtypes` are those of one step's outputs, then of the states. A stand-in for `tf`
    that has loops of its own (emit/keras/recorder.py) is asked for one.
    """
    if hasattr(tf, "over_time"):
        stacked: tuple[Any, ...] = tf.over_time(step, steps, sequences, states, shapes, dtypes)
        return stacked
    count = len(shapes) - len(states)
    fixed = [tf.TensorShape(shape) for shape in shapes]
    read = [
        tf.TensorArray(x.dtype, size=steps, element_shape=x.shape[1:]).unstack(x) for x in sequences
    ]
    written = [
        tf.TensorArray(dtype, size=steps, element_shape=shape)
        for dtype, shape in zip(dtypes[:count], fixed[:count], strict=True)
    ]

    def body(number: Any, arrays: list[Any], before: list[Any]) -> tuple[Any, list[Any], list[Any]]:
        outputs, after = step(number, [array.read(number) for array in read], before)
        arrays = [
            array.write(number, output) for array, output in zip(arrays, outputs, strict=True)
        ]
        after = [tf.ensure_shape(s, shape) for s, shape in zip(after, fixed[count:], strict=True)]
        return tf.add(number, 1), arrays, after

    _, written, _ = tf.while_loop(
        lambda number, *_: tf.less(number, steps),
        body,
        (tf.constant(0), written, states),
        shape_invariants=(tf.TensorShape([]), [None] * count, fixed[count:]),
    )
    return tuple(array.stack() for array in written)
