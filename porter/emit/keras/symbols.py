"""What stands in for TensorFlow's tensors while a layer is written down.

A `Traced` is a symbolic tensor, so that real TensorFlow tells its shape and dtype, with the
expression that computes it. A `Size` is an integer that is known only when the model runs.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np

from porter.emit.keras.expressions import Call, Expression, Infix
from porter.system.tensorflow import tf

T = TypeVar("T")
COMPUTE: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
}


class Holder(Protocol):
    """Keeps the sizes that arithmetic makes: a trace."""

    def size(self, tensor: Any, expression: Expression) -> Size: ...


class Traced:
    """A tensor: what TensorFlow knows of it, and how keras.ops computes it.

    `constant` is its value as a NumPy array, where that is known now.
    """

    def __init__(self, tensor: Any, expression: Expression, constant: Any = None) -> None:
        self.tensor = tensor
        self.expression = expression
        self.constant = constant

    @property
    def shape(self) -> Any:
        return self.tensor.shape

    @property
    def dtype(self) -> Any:
        return self.tensor.dtype


class Size(Traced):
    """An integer that is known when the model runs. Arithmetic writes expressions."""

    def __init__(self, trace: Holder, tensor: Any, expression: Expression) -> None:
        super().__init__(tensor, expression)
        self.trace = trace

    def combine(self, operator: str, first: Any, second: Any) -> Any:
        return self.trace.size(
            COMPUTE[operator](bare(first), bare(second)), Infix(operator, first, second)
        )

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
        chosen = tf.maximum(bare(self), bare(other))
        return self.trace.size(chosen, Call("larger", (self, other)))

    def smaller(self, other: Any) -> Any:
        """The smaller of two sizes."""
        chosen = tf.minimum(bare(self), bare(other))
        return self.trace.size(chosen, Call("smaller", (self, other)))


def is_number(item: Any, number: int) -> bool:
    """Whether an operand is this very number."""
    return isinstance(item, int | np.integer) and item == number


def bare(item: Any) -> Any:
    """What TensorFlow is given in place of traced values."""
    if isinstance(item, Traced):
        return item.tensor
    if isinstance(item, np.ndarray) and item.dtype == object:
        # A list of numbers takes the width that TensorFlow needs.
        if not any(isinstance(each, Traced) for each in item.ravel()):
            return item.tolist()
        return tf.stack([bare(each) for each in item])
    if isinstance(item, list | tuple):
        inside = [bare(each) for each in item]
        return type(item)(*inside) if hasattr(item, "_fields") else type(item)(inside)
    return item


def is_known(item: Any) -> bool:
    """Whether a value does not depend on the model's input or variables."""
    if isinstance(item, Traced):
        return item.constant is not None
    if isinstance(item, list | tuple):
        return all(map(is_known, item))
    if isinstance(item, np.ndarray) and item.dtype == object:
        return all(map(is_known, item))
    return not isinstance(item, tf.Tensor)


def known(item: Any) -> Any:
    """The value of something known."""
    if isinstance(item, Traced):
        return tf.constant(item.constant)
    if isinstance(item, np.ndarray) and item.dtype == object:
        return item.tolist()
    if isinstance(item, list | tuple):
        return type(item)(known(each) for each in item)
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
