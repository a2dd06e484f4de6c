"""Calls of keras.ops and of the helpers as expressions, from Python values and symbols."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from porter.emit.tracing.expression import (
    NOTHING,
    Expression,
    FunctionCall,
    Infix,
    Items,
    Literal,
    Ref,
    Slice,
    Subscript,
    literal,
)
from porter.emit.tracing.recorder import Symbol


def expression_of(value: Any) -> Expression:
    """An argument: a symbol, a number or word, or lists of these."""
    if isinstance(value, Expression):
        return value
    if isinstance(value, Symbol):
        return Ref(value.id)
    if isinstance(value, np.ndarray):
        return expression_of(value.tolist())
    if isinstance(value, list | tuple):
        brackets = "()" if isinstance(value, tuple) else "[]"
        return Items(tuple(map(expression_of, value)), brackets)
    if isinstance(value, float | np.floating):
        number = float(value)
        return Literal(repr(number) if math.isfinite(number) else f'float("{number}")')
    return literal(value)


def call(function: str, *args: Any, **options: Any) -> FunctionCall:
    """A call by its full name; options that are None are left out."""
    kwargs = {name: value for name, value in options.items() if value is not None}
    return FunctionCall(
        function,
        tuple(map(expression_of, args)),
        tuple((name, expression_of(value)) for name, value in kwargs.items()),
    )


def ops(function: str, *args: Any, **options: Any) -> FunctionCall:
    """A call of keras.ops."""
    return call(f"ops.{function}", *args, **options)


def infix(operator: str, first: Any, second: Any) -> Infix:
    """An operation on two arguments."""
    return Infix(operator, expression_of(first), expression_of(second))


def item(of: Any, *keys: Any) -> Subscript:
    """`of[key, …]`; slices of Python are keys."""
    return Subscript(expression_of(of), tuple(map(key_of, keys)))


def key_of(key: Any) -> Expression:
    if not isinstance(key, slice):
        return expression_of(key)
    step = None if key.step == 1 else key.step
    ends = (key.start, key.stop, step)
    return Slice(*(NOTHING if each is None else expression_of(each) for each in ends))
