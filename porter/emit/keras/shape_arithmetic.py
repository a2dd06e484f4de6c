"""What TensorFlow would compute on tensors of sizes, computed on Python's integers.

`Size`s stand for integers that are known only when the model runs.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from porter.emit.keras.symbols import Size
from porter.emit.tracing.recorder import Symbol
from porter.system.tensorflow import tf


def is_host(item: Any) -> bool:
    """Whether a value consists of integers and sizes, apart from strings and dtypes."""
    if isinstance(item, Size):
        return True
    if isinstance(item, list | tuple):
        return all(map(is_host, item))
    return not isinstance(item, float | Symbol)


def sizes(item: Any) -> Any:
    """Integers and sizes as one of them, or as an array of objects."""
    if isinstance(item, list | tuple):
        rows = [sizes(each) for each in item]
        if rows and isinstance(rows[0], np.ndarray):
            return np.stack(rows)
        array = np.empty(len(rows), object)
        array[:] = rows
        return array
    return item


def larger(a: Any, b: Any) -> Any:
    """The larger of two integers or sizes."""
    if isinstance(a, Size):
        return a.larger(b)
    return b.larger(a) if isinstance(b, Size) else max(a, b)


def smaller(a: Any, b: Any) -> Any:
    """The smaller of two integers or sizes."""
    if isinstance(a, Size):
        return a.smaller(b)
    return b.smaller(a) if isinstance(b, Size) else min(a, b)


def binary(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda x, y: function(sizes(x), sizes(y))


def stack(values: Any, axis: int = 0) -> Any:
    return np.stack([np.asarray(sizes(each), object) for each in values], axis=axis)


def concat(values: Any, axis: int = 0) -> Any:
    return np.concatenate([np.atleast_1d(sizes(each)) for each in values], axis=axis)


def part(input_: Any, begin: Any, size: Any) -> Any:
    (start,), (count,) = begin, size
    return sizes(input_)[start : None if count == -1 else start + count]


def product(input_tensor: Any, axis: Any = None) -> Any:
    return functools.reduce(operator.mul, sizes(input_tensor), 1)


def cast(x: Any, dtype: Any) -> Any:
    """Sizes stay integers of Python; only their TensorFlow tensors have a width."""
    if not dtype.is_integer:
        return NotImplemented
    if isinstance(x, np.ndarray | list | tuple):
        return sizes([cast(each, dtype) for each in x])
    if isinstance(x, Size):
        return x.size(tf.cast(x.tensor, dtype), x.expression)
    return x


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": binary(operator.add),
    "subtract": binary(operator.sub),
    "multiply": binary(operator.mul),
    "math.floordiv": binary(operator.floordiv),
    "math.floormod": binary(operator.mod),
    "maximum": binary(np.frompyfunc(larger, 2, 1)),
    "minimum": binary(np.frompyfunc(smaller, 2, 1)),
    "negative": lambda x: -sizes(x),
    "zeros_like": lambda input: sizes(input) * 0,
    "stack": stack,
    "concat": concat,
    "slice": part,
    "reduce_prod": product,
    "reduce_max": lambda input_tensor: functools.reduce(larger, sizes(input_tensor)),
    "reshape": lambda tensor, shape: np.reshape(sizes(tensor), shape),
    "cast": cast,
}
