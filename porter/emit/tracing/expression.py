"""Python expressions as immutable trees: only what recorded calls need.

Formats add leaves of their own: weights of an archive, attributes of a layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Expression:
    """A node. Its parts are the fields that hold expressions, or tuples of such."""


@dataclass(frozen=True)
class Literal(Expression):
    """Source text that stands for itself: `3`, `"SAME"`, `tf.int64`, or a variable's name."""

    text: str
    is_number: bool = False

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Ref(Expression):
    """A tensor made by an earlier line, whose name is decided later."""

    id: int


@dataclass(frozen=True)
class Items(Expression):
    """A list, or a tuple."""

    items: tuple[Expression, ...]
    brackets: str = "[]"


@dataclass(frozen=True)
class Dict(Expression):
    """A dict with string keys."""

    items: tuple[tuple[str, Expression], ...]


NOTHING = Literal("")


@dataclass(frozen=True)
class Slice(Expression):
    """`start:stop:step` in a subscript; `NOTHING` where it is left out."""

    start: Expression
    stop: Expression
    step: Expression


@dataclass(frozen=True)
class Subscript(Expression):
    """`of[keys]`."""

    of: Expression
    keys: tuple[Expression, ...]


@dataclass(frozen=True)
class FunctionCall(Expression):
    """`function(*args, **kwargs)`."""

    function: str
    args: tuple[Expression, ...] = ()
    kwargs: tuple[tuple[str, Expression], ...] = ()


@dataclass(frozen=True)
class Infix(Expression):
    """`first operator second`."""

    operator: str
    first: Expression
    second: Expression


@dataclass(frozen=True)
class Negation(Expression):
    """`-operand`."""

    operand: Expression


def rewrite(expression: Expression, change: Callable[[Expression], Expression]) -> Expression:
    """The expression with `change` applied to every node, parts before what they are parts of."""

    def inside(part: Any) -> Any:
        if isinstance(part, tuple):
            return tuple(map(inside, part))
        return rewrite(part, change) if isinstance(part, Expression) else part

    parts = {each.name: inside(getattr(expression, each.name)) for each in fields(expression)}
    return change(replace(expression, **parts))


def nodes(expression: Any) -> Iterator[Expression]:
    """An expression and all parts of it, in the order in which they are written."""
    if isinstance(expression, Expression):
        yield expression
        expression = tuple(getattr(expression, each.name) for each in fields(expression))
    if isinstance(expression, tuple):
        for part in expression:
            yield from nodes(part)


def references(expression: Expression) -> list[int]:
    """The tensors that an expression reads, each as often as it does."""
    return [node.id for node in nodes(expression) if isinstance(node, Ref)]


def quoted(string: str) -> str:
    """A string literal in double quotes, in ASCII; strings of a file may hold anything."""
    # With a double quote inside, Python chooses single quotes.
    inside = ascii('"' + string)[2:-1]
    return '"' + inside.replace('"', '\\"') + '"'


def literal(value: object) -> Literal:
    """A Python constant. Raises TypeError for a value that has no source text."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return Literal(repr(value))
    if isinstance(value, str):
        return Literal(quoted(value))
    if isinstance(value, float) and not math.isfinite(value):
        return Literal("np.nan" if math.isnan(value) else "np.inf" if value > 0 else "-np.inf")
    if isinstance(value, int | float):
        return Literal(repr(value).replace("e+", "e"), is_number=True)
    raise TypeError(f"{type(value).__name__} has no source text")
