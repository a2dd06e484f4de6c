"""Symbols in the place of tensors, and the expression that computes each.

Calls are passed on to TensorFlow, on symbolic tensors. What a layer map reads of a tensor, its
static shape and dtype, is thereby what it would read when the port is traced.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, MutableMapping
from typing import Any, ClassVar

import numpy as np

from porter.emit.tracing.expression import Expression, Literal, Ref, Subscript
from porter.system.tensorflow import tf


class Symbol:
    """Stands in for a tensor: what TensorFlow knows of it, and the number that it goes by.

    `value` is what it holds, where that is known now.
    """

    def __init__(self, recorder: Any, tensor: Any, id: int, value: Any = None) -> None:
        self.recorder = recorder
        self.tensor = tensor
        self.id = id
        self.value = value

    @property
    def shape(self) -> Any:
        return self.tensor.shape

    @property
    def dtype(self) -> Any:
        return self.tensor.dtype

    @property
    def expression(self) -> Expression:
        """How it is computed."""
        expression: Expression = self.recorder.definitions[self.id]
        return expression


class Recorder(abc.ABC):
    """Writes down how tensors are computed; each format decides how it writes a call."""

    symbol_type: ClassVar[type[Symbol]] = Symbol

    def __init__(self) -> None:
        self.definitions: MutableMapping[int, Expression] = {}
        """How each symbol is computed, in the order in which they were recorded."""
        self.parts: dict[int, int] = {}
        """For a call that returns several tensors: how many."""
        self.count = 0

    @abc.abstractmethod
    def call(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What `tf.<name>(*args, **kwargs)` returns, as symbols."""

    def define(
        self,
        tensor: Any,
        expression: Expression | None,
        value: Any = None,
        type: type[Symbol] | None = None,
    ) -> Any:
        """A new symbol; it has no expression if it comes from outside."""
        self.count += 1
        if expression is not None:
            self.definitions[self.count] = expression
        return (type or self.symbol_type)(self, tensor, self.count, value)

    def wrap(self, result: Any, expression: Expression) -> Any:
        """What TensorFlow returned, as symbols: one, or those of a list or a named tuple."""
        if not isinstance(result, list | tuple):
            return self.define(result, expression)
        whole = self.define(None, expression)
        self.parts[whole.id] = len(result)
        items = [
            self.define(each, Subscript(Ref(whole.id), (Literal(str(position)),)))
            for position, each in enumerate(result)
        ]
        return type(result)(*items) if hasattr(result, "_fields") else items


def tensors(value: Any) -> Any:
    """Arguments as TensorFlow takes them: tensors in the place of symbols."""
    if isinstance(value, Symbol):
        return value.tensor
    if isinstance(value, np.ndarray) and value.dtype == object:
        # A list of numbers takes the width that TensorFlow needs.
        if not any(isinstance(each, Symbol) for each in value.ravel()):
            return value.tolist()
        return tf.stack([tensors(each) for each in value])
    if isinstance(value, dict):
        return {key: tensors(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        inside = [tensors(each) for each in value]
        return type(value)(*inside) if hasattr(value, "_fields") else type(value)(inside)
    return value
