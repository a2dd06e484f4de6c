"""Write down the calls of a plan's layers.

The names of the maps' local variables are noted too, so that the emitted code can use them.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np

from porter.emit.source.leaves import WeightArray, WeightsPath
from porter.emit.tracing.expression import (
    Dict,
    Expression,
    FunctionCall,
    Items,
    Literal,
    Ref,
    Subscript,
    literal,
)
from porter.emit.tracing.namespace import Namespace
from porter.emit.tracing.recorder import Recorder, Symbol, tensors
from porter.ir.fields import Array
from porter.ir.layout import Step
from porter.runtime.runner import Variables
from porter.system.tensorflow import tf

MAX_NUMBERS = 16
"""Lists with more numbers than that are stored beside the weights."""
GENERIC_NAMES = frozenset({"x", "out", "total", "value", "tensor", "result", "vector", "values"})
"""Names that say nothing to a reader."""
FOLDED: dict[str, Callable[..., int]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "negative": lambda a: -a,
    "math.floormod": lambda a, b: a % b,
    "math.floordiv": lambda a, b: a // b,
    "minimum": min,
    "maximum": max,
}
"""Arithmetic on sizes: where they are fixed, the result is a number."""
NEUTRAL = {"add": 0, "subtract": 0, "multiply": 1, "math.floordiv": 1}
"""The second operand that changes no size."""


class NotPrintable(Exception):
    """A call that has no source text."""


class SourceSymbol(Symbol):
    """A layer map of the user's may write `x + y` and `x[0]`."""

    def __getitem__(self, index: Any) -> Any:
        expression = Subscript(Ref(self.id), (Literal(subscript_text(index)),))
        return self.recorder.once(expression, lambda: self.tensor[index])

    def __bool__(self) -> bool:
        raise NotPrintable("it decides by what a tensor holds")


def operator_method(path: str, real: Callable[..., Any], is_swapped: bool) -> Callable[..., Any]:
    """Python's operator as the TensorFlow function that it calls."""

    def apply(self: SourceSymbol, *other: Any) -> Any:
        operands = (*other, self) if is_swapped else (self, *other)
        return self.recorder.call(path, real, *operands)

    return apply


for _name, _path in {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "floordiv": "math.floordiv",
    "mod": "math.floormod",
}.items():
    for _prefix in ("", "r"):
        _method = operator_method(_path, getattr(operator, _name), is_swapped=_prefix == "r")
        setattr(SourceSymbol, f"__{_prefix}{_name}__", _method)


@dataclass
class RecordedLayer:
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
    results: dict[Expression, Any] = field(default_factory=dict)


class SourceRecorder(Recorder):
    """Writes down the calls of a plan's layers, one after the other."""

    symbol_type = SourceSymbol

    def __init__(self, variables: Variables) -> None:
        super().__init__()
        self.names = {id(variable): name for name, variable in variables.by_name.items()}
        self.layers: list[RecordedLayer] = []
        self.variables: dict[str, Any] = {}
        self.arrays: dict[str, Array] = {}
        self.array_names: dict[Hashable, str] = {}
        loop = dict.fromkeys(("while_loop", "TensorArray"), refuse_loop)
        self.tf = Namespace(loop, self.call)
        """What layer maps are handed."""

    @property
    def layer(self) -> RecordedLayer:
        return self.layers[-1]

    def begin(self, layer: RecordedLayer) -> None:
        """From now on calls belong to `layer`."""
        self.layers.append(layer)
        self.definitions, self.parts = layer.definitions, layer.parts

    # Symbols ------------------------------------------------------------------------------------

    def weight(self, variable: Any) -> Any:
        """A variable of the port."""
        full = self.names[id(variable)]
        self.variables[full] = variable
        module, _, name = full.rpartition(".")
        return self.once(WeightArray(WeightsPath(module), name), lambda: variable)

    def once(self, expression: Expression, compute: Callable[[], Any]) -> Any:
        """The result of an expression, computed at its first use within a layer."""
        if expression not in self.layer.results:
            self.layer.results[expression] = self.wrap(compute(), expression)
        return self.layer.results[expression]

    # Calls --------------------------------------------------------------------------------------

    def call(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call TensorFlow and write it down. Raises NotPrintable."""
        self.note_names()
        kwargs.pop("name", None)
        if name in FOLDED and not kwargs:
            numbers = [each.value if isinstance(each, Symbol) else each for each in args]
            if all(type(each) is int for each in numbers):
                folded = FOLDED[name](*numbers)
                return self.define(tf.constant(folded), literal(folded), folded)
            if name in NEUTRAL and numbers[1] == NEUTRAL[name] and is_integer(args[0]):
                return args[0]
        expression = FunctionCall(
            f"tf.{name}",
            tuple(self.expression(each) for each in args),
            tuple((key, self.expression(each)) for key, each in kwargs.items()),
        )
        return self.once(expression, lambda: function(*tensors(args), **tensors(kwargs)))

    def expression(self, value: Any) -> Expression:
        """An argument. Raises NotPrintable."""
        if isinstance(value, Symbol):
            return Ref(value.id)
        if isinstance(value, tf.DType):
            return Literal(f"tf.{value.name}")
        if isinstance(value, np.ndarray):
            return self.stored(value)
        if isinstance(value, tf.TensorShape):
            value = value.as_list()
        if isinstance(value, list | tuple):
            return self.items(value)
        if isinstance(value, dict):
            return Dict(tuple((key, self.expression(each)) for key, each in value.items()))
        try:
            return literal(value)
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

    def stored(self, array: Array) -> WeightArray:
        """An array as an entry of the archive, beside the weights of the layer."""
        key = (self.layer.path, array.dtype.str, array.shape, array.tobytes())
        if key not in self.array_names:
            prefix = f"{self.layer.path}." if self.layer.path else ""
            number = 1
            while f"{prefix}constant_{number}" in self.arrays:
                number += 1
            self.array_names[key] = f"constant_{number}"
            self.arrays[f"{prefix}constant_{number}"] = array
        return WeightArray(WeightsPath(self.layer.path), self.array_names[key])

    def note_names(self) -> None:
        """Learn how the layer map calls its tensors, from the frames of its functions."""
        frame: FrameType | None = sys._getframe()
        while frame is not None and is_own(frame):
            frame = frame.f_back
        while frame is not None and not is_own(frame):
            for name, value in frame.f_locals.items():
                if isinstance(value, Symbol) and self.is_unnamed(value.id):
                    self.layer.names[value.id] = name
            frame = frame.f_back

    def is_unnamed(self, identity: int) -> bool:
        """Whether a tensor has no telling name yet."""
        is_input = identity in self.layer.inputs
        return not is_input and self.layer.names.get(identity, "x") in GENERIC_NAMES


def refuse_loop(*_: Any, **__: Any) -> Any:
    raise NotPrintable("it loops over time")


def is_own(frame: FrameType) -> bool:
    """Whether a frame is of this package, and not of a layer map."""
    return str(frame.f_globals["__name__"]).startswith("porter.emit.")


def is_integer(value: Any) -> bool:
    """Whether a value is a symbol that stands for integers."""
    return isinstance(value, Symbol) and bool(value.dtype.is_integer)


def subscript_text(index: Any) -> str:
    """An integer or a slice of integers. Raises NotPrintable for anything else."""
    if isinstance(index, slice) and index.step is None:
        return ":".join("" if each is None else str(each) for each in (index.start, index.stop))
    if not isinstance(index, int):
        raise NotPrintable("it subscripts a tensor by more than an integer or a slice")
    return str(index)


def flattened(value: Any) -> Iterator[Any]:
    """The leaves of nested lists."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from flattened(each)
    else:
        yield value
