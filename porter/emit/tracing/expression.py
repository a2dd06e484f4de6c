"""Python expressions as immutable trees: only what recorded TensorFlow calls need.

Calls, lists, subscripts, constants, and tensors whose names are decided later.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import TypeAlias

import numpy as np

OPERANDS = {
    "tf.add": "offset",
    "tf.subtract": "offset",
    "tf.multiply": "factor",
    "tf.divide": "divisor",
    "tf.math.floordiv": "divisor",
    "tf.math.floormod": "divisor",
    "tf.less": "limit",
    "tf.less_equal": "limit",
    "tf.greater": "limit",
    "tf.greater_equal": "limit",
}
"""What a number is called that is an operand of these; TensorFlow says x and y."""


@dataclass(frozen=True)
class Constant:
    """Source text that stands for itself: `3`, `"SAME"`, `tf.int64`, or a parameter's name."""

    text: str
    is_number: bool = False


@dataclass(frozen=True)
class Ref:
    """A tensor made by an earlier line."""

    id: int


@dataclass(frozen=True)
class Path:
    """A module's path; `relative` to that of the function's `path` where there is one."""

    text: str
    relative: bool = False

    def __str__(self) -> str:
        if not self.relative:
            return quoted(self.text)
        return f'f"{{path}}{self.text}"' if self.text else "path"


@dataclass(frozen=True)
class Weights:
    """All weights of one module: `w["4.1"]`."""

    path: Path


@dataclass(frozen=True)
class Weight:
    """One array of the archive: `w["4.1"]["bias"]`, or `w["bias"]` in the function of a layer."""

    path: Path | None
    name: str


@dataclass(frozen=True)
class Items:
    """A list, or a tuple."""

    items: tuple[Expression, ...]
    brackets: str = "[]"


@dataclass(frozen=True)
class Table:
    """A dict with string keys."""

    items: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True)
class Subscript:
    """`of[index]`."""

    of: Expression
    index: Constant


@dataclass(frozen=True)
class Call:
    """`function(*args, **kwargs)`."""

    function: str
    args: tuple[Expression, ...] = ()
    kwargs: tuple[tuple[str, Expression], ...] = ()


Leaf: TypeAlias = Constant | Ref | Path | Weights | Weight
Expression: TypeAlias = Leaf | Items | Table | Subscript | Call


def quoted(string: str) -> str:
    """A string literal in double quotes, in ASCII; strings of a file may hold anything."""
    # With a double quote inside, Python chooses single quotes.
    inside = ascii('"' + string)[2:-1]
    return '"' + inside.replace('"', '\\"') + '"'


def constant(value: object) -> Constant:
    """A Python constant. Raises TypeError for a value that has no source text."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return Constant(repr(value))
    if isinstance(value, str):
        return Constant(quoted(value))
    if isinstance(value, float) and not math.isfinite(value):
        return Constant("np.nan" if math.isnan(value) else "np.inf" if value > 0 else "-np.inf")
    if isinstance(value, int | float):
        return Constant(repr(value).replace("e+", "e"), is_number=True)
    raise TypeError(f"{type(value).__name__} has no source text")


def rewrite(
    expression: Expression, change: Callable[[Leaf, str], Expression], argument: str = ""
) -> Expression:
    """The expression with every leaf replaced; `change` is told of which argument it is a part."""
    if isinstance(expression, Items):
        items = tuple(rewrite(each, change, argument) for each in expression.items)
        return replace(expression, items=items)
    if isinstance(expression, Table):
        return Table(tuple((key, rewrite(each, change, key)) for key, each in expression.items))
    if isinstance(expression, Subscript):
        return replace(expression, of=rewrite(expression.of, change, argument))
    if isinstance(expression, Call):
        names = argument_names(expression.function, len(expression.args))
        return Call(
            expression.function,
            tuple(
                rewrite(each, change, name)
                for each, name in zip(expression.args, names, strict=True)
            ),
            tuple((name, rewrite(each, change, name)) for name, each in expression.kwargs),
        )
    return change(expression, argument)


def found(expression: Expression) -> Iterator[tuple[Leaf, str]]:
    """Every leaf in order, with the name of the argument of which it is a part."""
    seen: list[tuple[Leaf, str]] = []

    def see(leaf: Leaf, argument: str) -> Leaf:
        seen.append((leaf, argument))
        return leaf

    rewrite(expression, see)
    yield from seen


def references(expression: Expression) -> list[int]:
    """The tensors that an expression reads, each as often as it does."""
    return [leaf.id for leaf, _ in found(expression) if isinstance(leaf, Ref)]


def calls(expression: Expression) -> Iterator[Call]:
    """Every call in an expression."""
    if isinstance(expression, Call):
        yield expression
        for each in (*expression.args, *(value for _, value in expression.kwargs)):
            yield from calls(each)
    elif isinstance(expression, Items):
        for each in expression.items:
            yield from calls(each)
    elif isinstance(expression, Subscript):
        yield from calls(expression.of)


@cache
def argument_names(function: str, count: int) -> tuple[str, ...]:
    """The names of a TensorFlow function's first parameters; "" where there is none."""
    names: list[str] = []
    if function in OPERANDS:
        names = [OPERANDS[function]] * 2
    elif function.startswith("tf."):
        from porter.system.tensorflow import tf

        found_function = tf
        for part in function.split(".")[1:]:
            found_function = getattr(found_function, part)
        names = list(inspect.signature(found_function).parameters)
    return tuple((names + [""] * count)[:count])
