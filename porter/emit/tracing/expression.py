"""Python expressions as immutable trees: only what recorded calls need.

Formats add leaves of their own: weights of an archive, attributes of a layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np


class Expression:
    """A node: its parts in the order in which they are written."""

    def parts(self) -> tuple[Expression, ...]:
        return ()

    def with_parts(self, parts: Sequence[Expression]) -> Expression:
        """The same node with other parts, as many as it has."""
        return self


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

    def parts(self) -> tuple[Expression, ...]:
        return self.items

    def with_parts(self, parts: Sequence[Expression]) -> Items:
        return replace(self, items=tuple(parts))


@dataclass(frozen=True)
class Dict(Expression):
    """A dict with string keys."""

    items: tuple[tuple[str, Expression], ...]

    def parts(self) -> tuple[Expression, ...]:
        return tuple(each for _, each in self.items)

    def with_parts(self, parts: Sequence[Expression]) -> Dict:
        return Dict(tuple((key, each) for (key, _), each in zip(self.items, parts, strict=True)))


@dataclass(frozen=True)
class Slice(Expression):
    """`start:stop:step` in a subscript; `NOTHING` where it is left out."""

    start: Expression
    stop: Expression
    step: Expression

    def parts(self) -> tuple[Expression, ...]:
        return self.start, self.stop, self.step

    def with_parts(self, parts: Sequence[Expression]) -> Slice:
        return Slice(*parts)


NOTHING = Literal("")


@dataclass(frozen=True)
class Subscript(Expression):
    """`of[keys]`."""

    of: Expression
    keys: tuple[Expression, ...]

    def parts(self) -> tuple[Expression, ...]:
        return self.of, *self.keys

    def with_parts(self, parts: Sequence[Expression]) -> Subscript:
        return Subscript(parts[0], tuple(parts[1:]))


@dataclass(frozen=True)
class FunctionCall(Expression):
    """`function(*args, **kwargs)`."""

    function: str
    args: tuple[Expression, ...] = ()
    kwargs: tuple[tuple[str, Expression], ...] = ()

    def parts(self) -> tuple[Expression, ...]:
        return *self.args, *(each for _, each in self.kwargs)

    def with_parts(self, parts: Sequence[Expression]) -> FunctionCall:
        count = len(self.args)
        names = (name for name, _ in self.kwargs)
        kwargs = tuple(zip(names, parts[count:], strict=True))
        return FunctionCall(self.function, tuple(parts[:count]), kwargs)


@dataclass(frozen=True)
class Infix(Expression):
    """`first operator second`."""

    operator: str
    first: Expression
    second: Expression

    def parts(self) -> tuple[Expression, ...]:
        return self.first, self.second

    def with_parts(self, parts: Sequence[Expression]) -> Infix:
        return Infix(self.operator, *parts)


@dataclass(frozen=True)
class Negation(Expression):
    """`-operand`."""

    operand: Expression

    def parts(self) -> tuple[Expression, ...]:
        return (self.operand,)

    def with_parts(self, parts: Sequence[Expression]) -> Negation:
        return Negation(*parts)


def rewrite(expression: Expression, change: Callable[[Expression], Expression]) -> Expression:
    """The expression with `change` applied to every node, parts before what they are parts of."""
    parts = expression.parts()
    if parts:
        expression = expression.with_parts([rewrite(each, change) for each in parts])
    return change(expression)


def nodes(expression: Expression) -> Iterator[Expression]:
    """An expression and all parts of it, in the order in which they are written."""
    yield expression
    for part in expression.parts():
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
