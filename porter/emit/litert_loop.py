"""Loops over time as LiteRT can run them: it knows WHILE, but no arrays that grow by elements.

`porter/frontend/loop.py` asks for `tf.TensorArray` and `tf.while_loop`. Here the array is a tensor
with the steps in front, and every step appends to it. The first step runs before the loop: only
then are the sizes of what it makes known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from porter.system.tensorflow import tf


class DenseArray:
    """`tf.TensorArray`, written to in order."""

    def __init__(self, dtype: Any, size: Any, element_shape: Any, rows: Any = None) -> None:
        self.dtype = dtype
        self.size = size
        self.element_shape = tf.TensorShape(element_shape)
        self.rows = rows

    @property
    def shape(self) -> Any:
        """Of the rows, whose number grows."""
        return tf.TensorShape([None]).concatenate(self.element_shape)

    def with_rows(self, rows: Any) -> DenseArray:
        return DenseArray(self.dtype, self.size, self.element_shape, rows)

    def unstack(self, rows: Any) -> DenseArray:
        return self.with_rows(rows)

    def read(self, index: Any) -> Any:
        return tf.ensure_shape(tf.gather(self.rows, index), self.element_shape)

    def write(self, index: Any, element: Any) -> DenseArray:
        row = tf.expand_dims(element, 0)
        return self.with_rows(row if self.rows is None else tf.concat([self.rows, row], axis=0))

    def stack(self) -> Any:
        return self.rows


def while_loop(
    condition: Callable[..., Any],
    body: Callable[..., Any],
    loop_vars: tuple[Any, list[DenseArray], list[Any]],
    shape_invariants: tuple[Any, Any, list[Any]],
) -> tuple[Any, list[DenseArray], list[Any]]:
    """`tf.while_loop` over a number, arrays and states, for one step or more."""
    number, arrays, states = body(*loop_vars)

    def row_body(number: Any, rows: list[Any], states: list[Any]) -> tuple[Any, ...]:
        filled = [array.with_rows(each) for array, each in zip(arrays, rows, strict=True)]
        number, written, after = body(number, filled, states)
        return number, [array.rows for array in written], after

    number, rows, states = tf.while_loop(
        lambda number, *_: condition(number, None, None),
        row_body,
        (number, [array.rows for array in arrays], states),
        shape_invariants=(
            shape_invariants[0],
            [array.shape for array in arrays],
            shape_invariants[2],
        ),
    )
    return number, [array.with_rows(each) for array, each in zip(arrays, rows, strict=True)], states
