"""Recurrent layers over a whole sequence in one module: weights of all gates in one matrix.

Source: Element-Research rnn SeqLSTM.lua, SeqLSTMP.lua, SeqGRU.lua.
"""

from __future__ import annotations

import abc
from typing import Any

import numpy as np

from porter.maps import (
    Array,
    HasStates,
    HintsInput,
    LayerMap,
    OpContext,
    Options,
    Param,
    Shape,
    TensorType,
    TorchObject,
    flag,
    optional_param,
    over_time,
    param,
    register,
    size,
)


class OverSequence(HasStates, HintsInput):
    """Base of the layers over T×N×D (N×T×D if `batchfirst`).

    The input is x, or a table that ends in x and begins with the states before the first step.
    Otherwise these are `userPrevOutput` and `userPrevCell`, or zeros. `weight` is
    (D + outputs) × gates·H: the rows of the input above those of the output before. With `maskzero`
    a step whose input is all zeros gives zeros and leaves zero states.
    """

    weight = param("DG")
    bias = param("G")
    batch_first = flag("batchfirst")
    mask_zero = flag("maskzero")
    previous_output = optional_param("NR", name="userPrevOutput", trainable=False)

    gates: int
    """The number of gates, side by side in the columns of `weight`."""

    def time_axis(self) -> int:
        return 1 if self.batch_first else 0

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        remembers = module.get("_remember") in ("eval", "both")
        if not remembers and not module.boolean("remember_states", False):
            return self
        note = "Torch remembers the state between calls; here every call starts anew"
        return self.with_notes(note)

    @property
    def width(self) -> int:
        """Hidden units."""
        return self.weight.shape[1] // self.gates

    @property
    def outputs(self) -> int:
        """Features of the output."""
        return self.width

    @property
    def features(self) -> int:
        """Features of the input."""
        return self.weight.shape[0] - self.outputs

    def state_sizes(self) -> tuple[int, ...]:
        """Features of the states in the order of the input table: cell first, output last."""
        return (self.outputs,)

    def user_states(self) -> tuple[Param | None, ...]:
        """The states in the file, in the same order."""
        return (self.previous_output,)

    def output_shape(self, *shapes: Shape) -> Shape:
        *states, x = shapes
        sizes = self.state_sizes()
        axes = "N×T×D" if self.batch_first else "T×N×D"
        self.require(len(states) <= len(sizes), f"takes {axes} behind {len(sizes)} state(s)")
        self.require(len(x) == 3, f"takes {axes}", x)
        self.require(
            self.weight.shape[1] == self.gates * self.width and self.features > 0,
            f"has weights of {self.gates} gates",
            self.weight.shape,
        )
        self.require(x[2] == self.features, f"takes {self.features} features", x)
        batch = x[0] if self.batch_first else x[1]
        state_shapes: list[Shape | None] = [None] * (len(sizes) - len(states)) + list(states)
        for shape, user, features in zip(state_shapes, self.user_states(), sizes, strict=True):
            shape = user.shape if shape is None and user is not None else shape
            self.require(
                shape is None or shape == (batch, features), f"takes states of N×{features}", shape
            )
        return (*x[:2], self.outputs)

    def initial(self, states: list[Any], zeros: Any, variable: Any) -> list[Any]:
        """The states before the first step: from the inputs, from the file, or zeros."""
        sizes, user = self.state_sizes(), self.user_states()
        defaults = [
            zeros(features) if param is None else variable(param)
            for features, param in zip(sizes, user, strict=True)
        ]
        return defaults[: len(defaults) - len(states)] + states

    def states(self, x: TensorType) -> tuple[Shape, ...]:
        if not self.batch_first:
            return ()
        return tuple((x.static[0], features) for features in self.state_sizes())

    def reference_states(self, *xs: Array) -> tuple[Array, ...]:
        *input_states, x = xs
        x = np.swapaxes(x, 0, 1) if self.batch_first else x
        states = self.initial(
            list(input_states), lambda n: np.zeros((x.shape[1], n), x.dtype), lambda p: p.array
        )
        outputs = []
        for element in x:
            states = self.cell(element, *states)
            if self.mask_zero:
                present = np.any(element != 0, axis=1, keepdims=True)
                states = [np.where(present, state, 0) for state in states]
            outputs.append(states[-1])
        out = np.stack(outputs)
        return (np.swapaxes(out, 0, 1) if self.batch_first else out, *states)

    @abc.abstractmethod
    def cell(self, x: Array, *states: Array) -> list[Array]:
        """One step in NumPy: the new states, output last."""

    def apply(self, tf: Any, *xs: Any, at: OpContext) -> Any:
        return self.unrolled(tf, *xs, at=at, extra_states=0)[0]

    def apply_states(self, tf: Any, *xs: Any, at: OpContext) -> tuple[Any, ...]:
        count = len(self.state_sizes())
        output, *others = self.unrolled(tf, *xs, at=at, extra_states=count - 1)
        last = output[:, -1] if self.batch_first else output[-1]
        return (output, *(sequence[-1] for sequence in others), last)

    def unrolled(self, tf: Any, *xs: Any, at: OpContext, extra_states: int) -> tuple[Any, ...]:
        """The output, and the first `extra_states` states after every step (T×N×…)."""
        *input_states, x = xs
        x = tf.transpose(x, [1, 0, 2]) if self.batch_first else x
        weight = at.variable(self.weight)
        wide, narrow = tf.split(weight, [self.features, self.outputs], axis=0)
        # The input's share of every gate, for all steps at once.
        share = tf.nn.bias_add(tf.tensordot(x, wide, 1), at.variable(self.bias))
        sequences = [share]
        if self.mask_zero:
            sequences.append(tf.reduce_any(tf.not_equal(x, 0), axis=2, keepdims=True))
        batch = size(tf, x, 1)
        states = self.initial(
            list(input_states),
            lambda n: tf.zeros([batch, n], at.dtype),
            lambda p: tf.identity(at.variable(p)),
        )
        extra = self.extra_weights(at)

        def step(
            number: Any, elements: list[Any], before: list[Any]
        ) -> tuple[list[Any], list[Any]]:
            after = self.step(tf, elements[0], before, narrow, extra)
            if self.mask_zero:
                after = [tf.where(elements[1], s, tf.zeros_like(s)) for s in after]
            return [after[-1], *after[:extra_states]], after

        unbatched = at.inputs[-1].shape[0 if self.batch_first else 1]
        sizes = self.state_sizes()
        shapes = [(unbatched, n) for n in (self.outputs, *sizes[:extra_states], *sizes)]
        steps, dtypes = size(tf, x, 0), [at.dtype] * len(shapes)
        out, *others = over_time(tf, step, steps, sequences, states, shapes, dtypes)
        return (tf.transpose(out, [1, 0, 2]) if self.batch_first else out, *others)

    def extra_weights(self, at: OpContext) -> list[Any]:
        """Variables of `step` other than the gates' weights; read once, before the loop."""
        return []

    @abc.abstractmethod
    def step(
        self, tf: Any, share: Any, states: list[Any], weight: Any, extra: list[Any]
    ) -> list[Any]:
        """One step in TensorFlow: the new states, output last."""

    def input_hint(self) -> TensorType:
        return TensorType((None, None, self.features))


class LongShortTermMemory(OverSequence):
    """c = σ(f)·c + σ(i)·tanh(g), h = σ(o)·tanh(c); the gates i, f, o, g are x·Wx + h·Wh + b.

    Takes x, {h, x} or {c, h, x}.
    """

    gates = 4
    previous_cell = optional_param("NH", name="userPrevCell", trainable=False)

    def state_sizes(self) -> tuple[int, ...]:
        return self.width, self.outputs

    def user_states(self) -> tuple[Param | None, ...]:
        return self.previous_cell, self.previous_output

    def cell(self, x: Array, *states: Array) -> list[Array]:
        c, h = states
        gates = np.concatenate([x, h], axis=1) @ self.weight.array + self.bias.array
        i, f, o, g = np.split(gates, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return [c, sigmoid(o) * np.tanh(c)]

    def step(
        self, tf: Any, share: Any, states: list[Any], weight: Any, extra: list[Any]
    ) -> list[Any]:
        c, h = states
        i, f, o, g = tf.split(tf.add(share, tf.matmul(h, weight)), 4, axis=1)
        c = tf.add(tf.multiply(tf.sigmoid(f), c), tf.multiply(tf.sigmoid(i), tf.tanh(g)))
        return [c, tf.multiply(tf.sigmoid(o), tf.tanh(c))]


@register("nn.SeqLSTM")
class SeqLSTM(LongShortTermMemory):
    """An LSTM over a whole sequence."""


@register("nn.SeqLSTMP")
class SeqLSTMP(LongShortTermMemory):
    """An LSTM whose output, also as the state of its next step, is projected: h·`weightO`."""

    projection = param("HR", name="weightO")

    @property
    def outputs(self) -> int:
        return self.projection.shape[1]

    def cell(self, x: Array, *states: Array) -> list[Array]:
        c, h = super().cell(x, *states)
        return [c, h @ self.projection.array]

    def extra_weights(self, at: OpContext) -> list[Any]:
        return [at.variable(self.projection)]

    def step(
        self, tf: Any, share: Any, states: list[Any], weight: Any, extra: list[Any]
    ) -> list[Any]:
        c, h = super().step(tf, share, states, weight, extra)
        return [c, tf.matmul(h, extra[0])]


@register("nn.SeqGRU")
class SeqGRU(OverSequence):
    """h = (1-u)·tanh(x·Wx + (r·h)·Wh + b) + u·h; the gates r, u are σ(x·Wx + h·Wh + b).

    Takes x or {h, x}. The columns of `weight` are r, u and the candidate.
    """

    gates = 3

    def cell(self, x: Array, *states: Array) -> list[Array]:
        (h,) = states
        weight, bias = self.weight.array, self.bias.array
        both = 2 * self.width
        gates = np.concatenate([x, h], axis=1) @ weight[:, :both] + bias[:both]
        r, u = np.split(sigmoid(gates), 2, axis=1)
        candidate = np.tanh(np.concatenate([x, r * h], axis=1) @ weight[:, both:] + bias[both:])
        return [(1 - u) * candidate + u * h]

    def step(
        self, tf: Any, share: Any, states: list[Any], weight: Any, extra: list[Any]
    ) -> list[Any]:
        (h,) = states
        sizes = [2 * self.width, self.width]
        gates, candidate = tf.split(share, sizes, axis=1)
        for_gates, for_candidate = tf.split(weight, sizes, axis=1)
        r, u = tf.split(tf.sigmoid(tf.add(gates, tf.matmul(h, for_gates))), 2, axis=1)
        candidate = tf.tanh(tf.add(candidate, tf.matmul(tf.multiply(r, h), for_candidate)))
        return [tf.add(candidate, tf.multiply(u, tf.subtract(h, candidate)))]


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow and as precise where it is almost zero."""
    small = np.exp(-np.abs(x))
    larger: Array = np.where(x < 0, small, 1) / (1 + small)
    return larger
