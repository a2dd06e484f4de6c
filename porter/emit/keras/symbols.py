"""What stands in for sizes while a layer is written down, and values that are known beforehand."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from porter.emit.keras.calls import call, expression_of
from porter.emit.tracing.expression import Expression, Infix
from porter.emit.tracing.recorder import Symbol, tensors
from porter.system.tensorflow import tf

T = TypeVar("T")
COMPUTE: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
}


class Size(Symbol):
    """An integer that is known when the model runs. Arithmetic writes expressions."""

    def size(self, tensor: Any, expression: Expression) -> Any:
        return self.recorder.define(tensor, expression, type=Size)

    def combine(self, operator: str, first: Any, second: Any) -> Any:
        expression = Infix(operator, expression_of(first), expression_of(second))
        return self.size(COMPUTE[operator](tensors(first), tensors(second)), expression)

    def __add__(self, other: Any) -> Any:
        return self if is_number(other, 0) else self.combine("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return self if is_number(other, 0) else self.combine("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return self if is_number(other, 0) else self.combine("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return self.combine("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return self if is_number(other, 1) else self.combine("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return self if is_number(other, 1) else self.combine("*", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return self if is_number(other, 1) else self.combine("//", self, other)

    def __mod__(self, other: Any) -> Any:
        return self.combine("%", self, other)

    def __neg__(self) -> Any:
        return self.combine("-", 0, self)

    def larger(self, other: Any) -> Any:
        """The larger of two sizes."""
        return self.size(tf.maximum(self.tensor, tensors(other)), call("larger", self, other))

    def smaller(self, other: Any) -> Any:
        """The smaller of two sizes."""
        return self.size(tf.minimum(self.tensor, tensors(other)), call("smaller", self, other))


def is_number(item: Any, number: int) -> bool:
    """Whether an operand is this very number."""
    return isinstance(item, int | np.integer) and item == number


def is_constant(item: Any) -> bool:
    """Whether a value does not depend on the model's input or variables."""
    if isinstance(item, Symbol):
        return item.value is not None
    if isinstance(item, list | tuple) or (isinstance(item, np.ndarray) and item.dtype == object):
        return all(map(is_constant, item))
    return not isinstance(item, tf.Tensor)


def constants(item: Any) -> Any:
    """The values of arguments that are constant."""
    if isinstance(item, Symbol):
        return tf.constant(item.value)
    if isinstance(item, np.ndarray) and item.dtype == object:
        return item.tolist()
    if isinstance(item, list | tuple):
        return type(item)(constants(each) for each in item)
    return item


def symbolically(function: Callable[[], T]) -> T:
    """What `function` returns when its tensors are symbolic."""
    returned: list[T] = []
    traced = tf.function(lambda: returned.append(function()), autograph=False)
    traced.get_concrete_function()
    return returned[0]


def placeholder(shape: Any, dtype: Any) -> Any:
    """A symbolic tensor."""
    return tf.compat.v1.placeholder(dtype, list(shape))
