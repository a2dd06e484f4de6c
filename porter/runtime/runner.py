"""Run a plan in TensorFlow. Besides the emitters, the only module that imports TensorFlow."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from porter.ir.fields import Array, DerivedParam, Param
from porter.ir.graph import FLOAT, Value
from porter.ir.layout import Layout, LayoutConversion, OpContext, Plan, Step, from_torch, to_torch
from porter.ir.map_errors import attribute_errors
from porter.runtime.interpreter import LayerCalls, interpret
from porter.system.tensorflow import tf
from porter.torch7.mapped import release

MAX_BYTES = 2**24
"""The largest parameter that is converted as one tensor.

Memory for tensors above 32 MB is allocated from the system afresh each time, which takes longer
than the conversion itself.
"""

SMALL = 2**14
"""Bytes of the largest parameter that a served graph holds as a constant."""

Stored = tuple[Hashable, str, str, tuple[int, ...]]
"""A parameter by its key, its axes in Torch's order and as stored, and the order of its rows."""


class Variables:
    """The TensorFlow variables of a model, one for each tensor in Torch's memory.

    Modules that share a weight get the same variable if both store it in the same order. With
    `learning` they always share it, and the one with another order reorders it at every call.
    A parameter that Torch derives from others (weight normalisation) is then no variable: the
    others are, and it is computed from them at every call.
    """

    def __init__(self, precision: str = "float32", learning: bool = False) -> None:
        self.precision = precision
        self.learning = learning
        self.by_key: dict[Stored, Any] = {}
        self.by_name: dict[str, Any] = {}

    def get(self, path: str, param: Param, rows: tuple[int, ...]) -> Any:
        """The variable of a parameter, created on first use and named by its Torch path."""
        if self.learning and param.derived is not None:
            return self.computed(path, param, param.derived, rows)
        key = (param.key, param.axes, param.to, rows)
        if key not in self.by_key:
            if self.learning:
                first = next((k for k in self.by_key if k[0] == param.key), None)
                if first is not None:
                    return self.reordered(self.by_key[first], param, first, key)
            name = self.free_name(f"{path}.{param.name}" if path else param.name)
            # The layer's name scope must not become part of the variable's name.
            with tf.init_scope(), tf.name_scope(""):
                if param.array.nbytes > MAX_BYTES and not (rows and param.to[0] == param.axes[0]):
                    variable = self.filled(name, param, rows)
                else:
                    variable = tf.Variable(
                        self.stored(param, rows), name=name, trainable=param.trainable
                    )
            self.by_key[key] = variable
            self.by_name[name] = variable
        return self.by_key[key]

    @property
    def base(self) -> Variables:
        """The set that holds the variables."""
        return self

    def read(self) -> list[Any]:
        """What a traced graph reads."""
        return list(self.by_key.values())

    def extended(self) -> Variables:
        """A set of the same variables that others can be added to, not for learning."""
        other = Variables(self.precision)
        if not self.learning:
            other.by_key, other.by_name = dict(self.by_key), dict(self.by_name)
        return other

    def computed(
        self, path: str, param: Param, derived: DerivedParam, rows: tuple[int, ...]
    ) -> Any:
        """A parameter as Torch derives it, in the order in which its variable would be stored."""
        sources = [self.get(derived.path, source, ()) for source in derived.sources]
        values = derived.arrange(tf, derived.compute(tf, *sources))
        return self.arranged(tf.reshape(values, param.shape), param, rows)

    def reordered(
        self, variable: Any, param: Param, stored_key: Stored, requested_key: Stored
    ) -> Any:
        """A variable stored by one key, in the order of another key of the same parameter."""
        with tf.init_scope():
            places = np.arange(param.array.size).reshape(param.shape)
            stored_places, requested_places = (
                self.arranged(tf.constant(places), replace(param, axes=axes, to=to), rows).numpy()
                for _, axes, to, rows in (stored_key, requested_key)
            )
        where = np.argsort(stored_places, axis=None)[requested_places]
        return tf.gather(tf.reshape(variable, [-1]), where)

    def filled(self, name: str, param: Param, rows: tuple[int, ...]) -> Any:
        """The variable of a large parameter, filled piece by piece.

        As a single tensor it would be in memory several times, in both orders.
        """
        shape = [param.shape[param.axes.index(letter)] for letter in param.to]
        empty = tf.raw_ops.Empty(shape=shape, dtype=self.dtype(param))
        variable = tf.Variable(empty, trainable=False)
        del empty  # or the first piece would be written to a copy
        axis = param.to.index(param.axes[0])  # pieces follow each other in the file
        each = max(1, shape[axis] * MAX_BYTES // param.array.nbytes)
        for first in range(0, shape[axis], each):
            last = min(first + each, shape[axis])
            piece = self.stored(replace(param, array=param.array[first:last]), rows)
            begin, end = [0] * len(shape), list(shape)
            begin[axis], end[axis] = first, last
            # In place; `variable[...].assign` would copy the whole variable before.
            tf.raw_ops.ResourceStridedSliceAssign(
                ref=variable.handle, begin=begin, end=end, strides=[1] * len(shape), value=piece
            )
        # From now on TensorFlow would copy that variable whenever it is read.
        return tf.Variable(variable.read_value(), name=name, trainable=param.trainable)

    def stored(self, param: Param, rows: tuple[int, ...]) -> Any:
        """The parameter's values in the order in which TensorFlow stores them."""
        values = tf.constant(np.ascontiguousarray(param.array, self.dtype(param)))
        release(param.array)
        return self.arranged(values, param, rows)

    def dtype(self, param: Param) -> str:
        """The dtype of a parameter's variable: the port's precision, or int64."""
        return self.precision if np.issubdtype(param.array.dtype, np.floating) else "int64"

    def arranged(self, values: Any, param: Param, rows: tuple[int, ...]) -> Any:
        """A tensor in Torch's order as `param` wants it stored."""
        if param.axes != param.to:
            values = tf.transpose(values, [param.axes.index(letter) for letter in param.to])
        if rows:
            values = tf.gather(values, list(rows))
        return values

    def free_name(self, name: str) -> str:
        """`name`, with a number appended if one parameter is stored in two orders."""
        count, free = 1, name
        while free in self.by_name:
            count += 1
            free = f"{name}_{count}"
        return free


class ServedVariables(Variables):
    """The variables of `base` as a served graph reads them: small ones are constants there.

    Most parameters are vectors with a number for each plane, of normalisations above all. What is
    computed from them alone TensorFlow then computes once and not at every call, and a SavedModel
    is saved and loaded faster by a millisecond or more for each variable that it does not have.
    Kernels stay variables: TensorFlow copies a constant about twenty times while it loads it.
    """

    def __init__(self, base: Variables) -> None:
        super().__init__(base.precision)
        self.by_key, self.by_name = base.by_key, base.by_name
        self.of_base = base
        self.large: dict[int, Any] = {}

    @property
    def base(self) -> Variables:
        return self.of_base

    def read(self) -> list[Any]:
        return list(self.large.values())

    def get(self, path: str, param: Param, rows: tuple[int, ...]) -> Any:
        """The variable of a parameter, or its value as a constant of the graph being traced."""
        variable = self.of_base.get(path, param, rows)
        if param.array.nbytes > SMALL:
            self.large[id(variable)] = variable
            return variable
        with tf.init_scope():
            value = variable.numpy()
        return tf.constant(value, name=param.name)


def op_context(step: Step, variables: Variables, training: bool = False) -> OpContext:
    """The context that a layer is applied or trained in."""
    node = step.node
    return OpContext(
        inputs=tuple(value.type for value in node.inputs),
        outputs=tuple(value.type for value in node.outputs),
        layouts=step.inputs,
        output_layouts=step.outputs,
        make_variable=lambda param, rows: variables.get(node.path, param, rows),
        dtype=tf.as_dtype(variables.precision),
        inner=lambda inside: op_context(inside, variables, training),
        training=training,
    )


def apply_step(
    step: Step,
    inputs: list[Any],
    variables: Variables,
    dialect: Any = tf,
    training: bool = False,
) -> list[Any]:
    """The output tensors of one node on stored input tensors.

    Operations are named by the node's Torch path. `dialect` stands in for TensorFlow.
    """
    node = step.node
    calls = LayerCalls(dialect, lambda each: op_context(each, variables, training))
    with (
        tf.name_scope(scope_of(node.path)),
        attribute_errors(type(node.op), node.path, node.typename),
    ):
        return calls.apply(step, inputs)


def scope_of(path: str) -> str:
    """A Torch path as a valid TensorFlow name scope."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", path).lstrip("_-") or "root"


@dataclass(frozen=True)
class TensorFlowBackend:
    """Layers by their `apply` or `train`; `on_step` may replace a node's outputs in their list."""

    variables: Variables
    on_step: Callable[[Step, list[Any]], None] | None = None
    dialect: Any = tf
    training: bool = False

    def apply(self, step: Step, inputs: list[Any]) -> list[Any]:
        outputs = apply_step(step, inputs, self.variables, self.dialect, self.training)
        if self.on_step is not None:
            self.on_step(step, outputs)
        return outputs

    def convert(self, step: LayoutConversion, tensor: Any) -> Any:
        return step.apply(self.dialect, tensor)


def run(
    plan: Plan,
    inputs: Mapping[int, Any],
    variables: Variables,
    on_step: Callable[[Step, list[Any]], None] | None = None,
    dialect: Any = tf,
    training: bool = False,
) -> dict[int, Any]:
    """Run all steps on stored input tensors; returns the stored outputs by value id.

    `on_step` is called with each node's stored outputs right after it ran. With `training` layers
    compute what they do in training, and running statistics are updated.
    """
    return interpret(plan, inputs, TensorFlowBackend(variables, on_step, dialect, training))


def store(array: Array, value: Value, layout: Any, precision: str) -> Any:
    """A NumPy array in Torch's order as a stored TensorFlow tensor."""
    dtype = precision if value.dtype == FLOAT else value.dtype
    with np.errstate(over="ignore"):  # float64 of a net that overflows in float32, as Torch does
        return tf.constant(np.ascontiguousarray(from_torch(array, layout), dtype))


def signature(name: str, value: Value, layout: Layout, precision: str) -> Any:
    """The TensorSpec of one input as it is stored."""
    shape = [value.type.shape[axis] for axis in layout.order]
    return tf.TensorSpec(shape, precision if value.dtype == FLOAT else value.dtype, name=name)


def load(tensor: Any, layout: Any) -> Array:
    """A stored tensor as a NumPy array in Torch's order.

    An output of the wrong rank or size, from a faulty layer map, is returned as it is: `compare`
    rejects it.
    """
    array = np.asarray(tensor)
    features = layout.flat is None or array.shape[-1:] == (math.prod(layout.flat),)
    fits = array.ndim == len(layout.order) and features
    return to_torch(array, layout) if fits else array


def run_isolated(step: Step, inputs: list[Array], variables: Variables) -> list[Array]:
    """One node on inputs given in Torch's order; outputs in Torch's order."""
    stored = [
        store(array, value, layout, variables.precision)
        for array, value, layout in zip(inputs, step.node.inputs, step.inputs, strict=True)
    ]
    outputs = apply_step(step, stored, variables)
    return [load(tensor, layout) for tensor, layout in zip(outputs, step.outputs, strict=True)]
