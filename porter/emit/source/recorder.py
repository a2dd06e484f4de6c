"""A stand-in for `tf` that writes down what is called.

Each call is passed on to TensorFlow, on symbolic tensors. What a layer map reads of a tensor, its
static shape and dtype, is thereby what it would read when the port is traced.

The names of the maps' local variables are noted too, so that the emitted code can use them.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np

from porter.emit.source.expression import (
    Call,
    Constant,
    Expression,
    Items,
    Path,
    Ref,
    Subscript,
    Table,
    Weight,
    constant,
)
from porter.ir.fields import Array
from porter.ir.layout import Step
from porter.runtime.runner import Variables
from porter.system.tensorflow import tf

MAX_NUMBERS = 16
"""Lists with more numbers than that are stored beside the weights."""
GENERIC_NAMES = frozenset({"x", "out", "total", "value", "tensor", "result", "vector", "values"})
"""Names that tell a reader nothing."""
FOLDED: dict[str, Callable[..., int]] = {
    "tf.add": lambda a, b: a + b,
    "tf.subtract": lambda a, b: a - b,
    "tf.multiply": lambda a, b: a * b,
    "tf.negative": lambda a: -a,
    "tf.math.floormod": lambda a, b: a % b,
    "tf.math.floordiv": lambda a, b: a // b,
    "tf.minimum": min,
    "tf.maximum": max,
}
"""Arithmetic on sizes: where they are fixed, the result is a number."""
NEUTRAL = {"tf.add": 0, "tf.subtract": 0, "tf.multiply": 1, "tf.math.floordiv": 1}
"""The second operand that changes no size."""


class NotPrintable(Exception):
    """A call that has no source text."""


class Symbol:
    """Stands in for a tensor: what TensorFlow made, and by which name it is known."""

    def __init__(self, recorder: Recorder, tensor: Any, id: int, folded: int | None = None) -> None:
        self.recorder = recorder
        self.tensor = tensor
        self.id = id
        self.folded = folded

    @property
    def shape(self) -> Any:
        return self.tensor.shape

    @property
    def dtype(self) -> Any:
        return self.tensor.dtype

    def __getitem__(self, index: Any) -> Symbol:
        made = Subscript(Ref(self.id), Constant(subscript_text(index)))
        found: Symbol = self.recorder.once(made, lambda: self.tensor[index])
        return found

    def __bool__(self) -> bool:
        raise NotPrintable("it decides by what a tensor holds")


def operator_of(function: str, real: Callable[..., Any], is_swapped: bool) -> Callable[..., Any]:
    """Python's operator as the TensorFlow function that it calls."""

    def apply(self: Symbol, *other: Any) -> Any:
        operands = (*other, self) if is_swapped else (self, *other)
        return self.recorder.call(function, real, operands, {})

    return apply


OPERATORS = {
    "add": "tf.add",
    "sub": "tf.subtract",
    "mul": "tf.multiply",
    "truediv": "tf.divide",
    "floordiv": "tf.math.floordiv",
    "mod": "tf.math.floormod",
}
for _name, _function in OPERATORS.items():
    # A layer map of the user's may write x + y.
    for _prefix in ("", "r"):
        _made = operator_of(_function, getattr(operator, _name), is_swapped=_prefix == "r")
        setattr(Symbol, f"__{_prefix}{_name}__", _made)


@dataclass
class Layer:
    """The calls of one layer (`step`), or of a change of layout before one (None)."""

    path: str
    count: int
    inputs: list[int]
    step: Step | None = None
    outputs: list[int] = field(default_factory=list)
    definitions: dict[int, Expression] = field(default_factory=dict)
    parts: dict[int, int] = field(default_factory=dict)
    """For a call that returns several tensors: how many."""
    names: dict[int, str] = field(default_factory=dict)
    known: dict[Expression, Any] = field(default_factory=dict)


class Namespace:
    """`tf`, or a module of it: attributes are functions that record."""

    def __init__(self, recorder: Recorder, name: str, real: Any) -> None:
        self._recorder = recorder
        self._name = name
        self._real = real

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        dotted = f"{self._name}.{name}"
        if isinstance(real, tf.DType) or real in (tf.TensorShape, tf.as_dtype):
            return real
        if real in (tf.while_loop, tf.TensorArray):
            raise NotPrintable("it loops over time")
        if not callable(real):
            return Namespace(self._recorder, dotted, real)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._recorder.call(dotted, real, args, kwargs)

        return call


class Recorder:
    """Writes down the calls of a plan's layers, one after the other."""

    def __init__(self, variables: Variables) -> None:
        self.names = {id(variable): name for name, variable in variables.by_name.items()}
        self.layers: list[Layer] = []
        self.variables: dict[str, Any] = {}
        self.arrays: dict[str, Array] = {}
        self.array_names: dict[Hashable, str] = {}
        self.count = 0

    @property
    def layer(self) -> Layer:
        return self.layers[-1]

    # Symbols ------------------------------------------------------------------------------------

    def define(
        self, tensor: Any, expression: Expression | None, folded: int | None = None
    ) -> Symbol:
        """A new symbol; None for one that is given from outside."""
        self.count += 1
        if expression is not None:
            self.layer.definitions[self.count] = expression
        return Symbol(self, tensor, self.count, folded)

    def weight(self, variable: Any) -> Symbol:
        """A variable of the port."""
        full = self.names[id(variable)]
        self.variables[full] = variable
        module, _, name = full.rpartition(".")
        made: Symbol = self.once(Weight(Path(module), name), lambda: variable)
        return made

    def once(self, expression: Expression, make: Callable[[], Any]) -> Any:
        """The result of an expression, made at its first use within a layer."""
        if expression not in self.layer.known:
            self.layer.known[expression] = self.wrap(make(), expression)
        return self.layer.known[expression]

    def wrap(self, made: Any, expression: Expression) -> Any:
        """What TensorFlow returned, as symbols."""
        if not isinstance(made, list | tuple):
            return self.define(made, expression)
        whole = self.define(None, expression)
        self.layer.parts[whole.id] = len(made)
        items = [
            self.define(each, Subscript(Ref(whole.id), Constant(str(position))))
            for position, each in enumerate(made)
        ]
        fields = getattr(made, "_fields", None)
        return items if fields is None else type(made)(**dict(zip(fields, items, strict=True)))

    # Calls --------------------------------------------------------------------------------------

    def call(
        self, name: str, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call TensorFlow and write it down. Raises Unprintable."""
        self.note_names(sys._getframe(2))
        kwargs = {key: value for key, value in kwargs.items() if key != "name"}
        if name in FOLDED and not kwargs:
            numbers = [each.folded if isinstance(each, Symbol) else each for each in args]
            if all(type(each) is int for each in numbers):
                folded = FOLDED[name](*numbers)
                return self.define(tf.constant(folded), constant(folded), folded)
            if name in NEUTRAL and numbers[1] == NEUTRAL[name] and is_integer(args[0]):
                return args[0]
        expression = Call(
            name,
            tuple(self.expression(each) for each in args),
            tuple((key, self.expression(each)) for key, each in kwargs.items()),
        )
        return self.once(expression, lambda: real(*unwrapped(args), **unwrapped(kwargs)))

    def expression(self, value: Any) -> Expression:
        """An argument. Raises Unprintable."""
        if isinstance(value, Symbol):
            return Ref(value.id)
        if isinstance(value, tf.DType):
            return Constant(f"tf.{value.name}")
        if isinstance(value, np.ndarray):
            return self.stored(value)
        if isinstance(value, tf.TensorShape):
            value = value.as_list()
        if isinstance(value, list | tuple):
            return self.items(value)
        if isinstance(value, dict):
            return Table(tuple((key, self.expression(each)) for key, each in value.items()))
        try:
            return constant(value)
        except TypeError:
            raise NotPrintable(f"it hands {type(value).__name__} to TensorFlow") from None

    def items(self, value: list[Any] | tuple[Any, ...]) -> Expression:
        """A list or tuple; long ones of numbers are stored."""
        flat = list(flattened(value))
        if len(flat) > MAX_NUMBERS and all(type(each) in (int, float) for each in flat):
            integers = all(type(each) is int for each in flat)
            return self.stored(np.asarray(value, np.int32 if integers else np.float32))
        brackets = "()" if isinstance(value, tuple) else "[]"
        return Items(tuple(self.expression(each) for each in value), brackets)

    def stored(self, array: Array) -> Weight:
        """An array as an entry of the archive, beside the weights of the layer."""
        key = (self.layer.path, array.dtype.str, array.shape, array.tobytes())
        if key not in self.array_names:
            prefix = f"{self.layer.path}." if self.layer.path else ""
            number = 1
            while f"{prefix}constant_{number}" in self.arrays:
                number += 1
            self.array_names[key] = f"constant_{number}"
            self.arrays[f"{prefix}constant_{number}"] = array
        return Weight(Path(self.layer.path), self.array_names[key])

    def note_names(self, frame: FrameType | None) -> None:
        """Learn how the layer map calls its tensors, from the frames of its functions."""
        while frame is not None and not frame.f_globals["__name__"].startswith("porter.emit."):
            for name, value in frame.f_locals.items():
                if isinstance(value, Symbol) and self.is_unnamed(value.id):
                    self.layer.names[value.id] = name
            frame = frame.f_back

    def is_unnamed(self, identity: int) -> bool:
        """Whether a tensor has no name yet that tells something."""
        given = identity in self.layer.inputs
        return not given and self.layer.names.get(identity, "x") in GENERIC_NAMES


def is_integer(value: Any) -> bool:
    """Whether a value is a symbol that stands for integers."""
    return isinstance(value, Symbol) and bool(value.dtype.is_integer)


def subscript_text(index: Any) -> str:
    """An integer or a slice of integers. Raises Unprintable for anything else."""
    if isinstance(index, slice) and index.step is None:
        return ":".join("" if each is None else str(each) for each in (index.start, index.stop))
    if not isinstance(index, int):
        raise NotPrintable("it subscripts a tensor by more than an integer or a slice")
    return str(index)


def unwrapped(value: Any) -> Any:
    """Arguments with tensors in place of symbols."""
    if isinstance(value, Symbol):
        return value.tensor
    if isinstance(value, dict):
        return {key: unwrapped(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(unwrapped(each) for each in value)
    return value


def flattened(value: Any) -> Any:
    """The leaves of nested lists."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from flattened(each)
    else:
        yield value
