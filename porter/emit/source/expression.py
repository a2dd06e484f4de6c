"""Python expressions as immutable trees, and how they are written down.

Only what recorded TensorFlow calls need: calls, lists, subscripts, constants, and names that are
decided later. Arithmetic on tensors is written with Python's operators, which call the same
functions.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TypeAlias, Union

import numpy as np

WIDTH = 100
"""Columns of the emitted file."""


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
            return json.dumps(self.text, ensure_ascii=False)
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


Leaf: TypeAlias = Union[Constant, Ref, Path, Weights, Weight]
Expression: TypeAlias = Union[Leaf, Items, Table, Subscript, Call]


def constant(value: object) -> Constant:
    """A Python constant. Raises TypeError for a value that has no source text."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return Constant(repr(value))
    if isinstance(value, str):
        return Constant(json.dumps(value, ensure_ascii=False))
    if isinstance(value, float) and not math.isfinite(value):
        return Constant("np.nan" if math.isnan(value) else "np.inf" if value > 0 else "-np.inf")
    if isinstance(value, int | float):
        return Constant(repr(value), is_number=True)
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
    if function.startswith("tf."):
        from porter.tensorflow import tf

        found_function = tf
        for part in function.split(".")[1:]:
            found_function = getattr(found_function, part)
        names = list(inspect.signature(found_function).parameters)
    return tuple((names + [""] * count)[:count])


# Text -------------------------------------------------------------------------------------------

INFIX = {
    "tf.add": ("+", 3),
    "tf.subtract": ("-", 3),
    "tf.multiply": ("*", 4),
    "tf.divide": ("/", 4),
    "tf.math.floordiv": ("//", 4),
    "tf.math.floormod": ("%", 4),
    "tf.less": ("<", 2),
    "tf.less_equal": ("<=", 2),
    "tf.greater": (">", 2),
    "tf.greater_equal": (">=", 2),
}
"""Operators that call the same function, with how strongly they bind."""
NEGATION = 5
ATOM = 6

Names = Mapping[int, str]


def strength(expression: Expression) -> int:
    """How strongly the outermost operator binds."""
    if isinstance(expression, Call):
        if is_infix(expression):
            return INFIX[expression.function][1]
        if is_negation(expression):
            return NEGATION
    if isinstance(expression, Constant) and expression.text.startswith("-"):
        return NEGATION
    return ATOM


def is_infix(call: Call) -> bool:
    """Whether Python's operator does the same: one side must be a tensor, and not a list first."""
    if call.function not in INFIX or len(call.args) != 2 or call.kwargs:
        return False
    first, second = call.args
    return not isinstance(first, Items) and not all(
        isinstance(each, Constant | Items) for each in (first, second)
    )


def is_negation(call: Call) -> bool:
    """Whether it is written with a minus sign."""
    return (
        call.function == "tf.negative"
        and not call.kwargs
        and not isinstance(call.args[0], Constant | Items)
    )


def text(expression: Expression, names: Names, least: int = 0) -> str:
    """The expression on one line, in parentheses if it binds less strongly than `least`."""
    written = plain(expression, names)
    return f"({written})" if strength(expression) < least else written


def plain(expression: Expression, names: Names) -> str:
    """The expression on one line."""
    if isinstance(expression, Constant):
        return expression.text
    if isinstance(expression, Ref):
        return names[expression.id]
    if isinstance(expression, Path):
        return str(expression)
    if isinstance(expression, Weights):
        return f"w[{expression.path}]"
    if isinstance(expression, Weight):
        module = "w" if expression.path is None else f"w[{expression.path}]"
        return f'{module}["{expression.name}"]'
    if isinstance(expression, Items):
        inside = ", ".join(text(each, names) for each in expression.items)
        comma = "," if expression.brackets == "()" and len(expression.items) == 1 else ""
        return f"{expression.brackets[0]}{inside}{comma}{expression.brackets[1]}"
    if isinstance(expression, Table):
        return "{" + ", ".join(f'"{k}": {text(v, names)}' for k, v in expression.items) + "}"
    if isinstance(expression, Subscript):
        return f"{text(expression.of, names, ATOM)}[{expression.index.text}]"
    if is_infix(expression):
        operator, binds = INFIX[expression.function]
        first, second = expression.args
        # Comparisons do not associate: a < b < c means something else.
        left = text(first, names, binds + (binds == 2))
        return f"{left} {operator} {text(second, names, binds + 1)}"
    if is_negation(expression):
        return f"-{text(expression.args[0], names, NEGATION)}"
    return f"{expression.function}({', '.join(arguments(expression, names))})"


def arguments(call: Call, names: Names) -> list[str]:
    """The arguments of a call as they are written."""
    given = [text(each, names) for each in call.args]
    return given + [f"{name}={text(each, names)}" for name, each in call.kwargs]


def lines(before: str, expression: Expression, after: str, names: Names, indent: int) -> list[str]:
    """A statement of one or more lines, broken where ruff and black would break it."""
    margin = " " * indent
    whole = f"{margin}{before}{text(expression, names)}{after}"
    if len(whole) <= WIDTH:
        return [whole]
    if isinstance(expression, Items | Table) or (
        isinstance(expression, Call) and not is_infix(expression) and not is_negation(expression)
    ):
        opening, closing, parts = opened(expression)
        inner = margin + "    "
        inside = inner + ", ".join(p + text(each, names) for p, each in parts)
        head, tail = f"{margin}{before}{opening}", f"{margin}{closing}{after}"
        single = isinstance(expression, Items) and expression.brackets == "()" and len(parts) == 1
        if len(inside) <= WIDTH and isinstance(expression, Call):
            return [head, inside, tail]
        if len(parts) == 1 and not single and isinstance(expression, Call):
            return [head, *lines(parts[0][0], parts[0][1], "", names, indent + 4), tail]
        broken = [line for p, each in parts for line in lines(p, each, ",", names, indent + 4)]
        return [head, *broken, tail]
    if isinstance(expression, Subscript) and isinstance(expression.of, Call):
        return lines(before, expression.of, f"[{expression.index.text}]{after}", names, indent)
    return [f"{margin}{before}(", f"{margin}    {text(expression, names)}", f"{margin}){after}"]


def opened(expression: Items | Table | Call) -> tuple[str, str, list[tuple[str, Expression]]]:
    """What stands before, behind and between the brackets."""
    if isinstance(expression, Items):
        return *expression.brackets, [("", each) for each in expression.items]
    if isinstance(expression, Table):
        return "{", "}", [(f'"{key}": ', each) for key, each in expression.items]
    parts = [("", each) for each in expression.args]
    parts += [(f"{name}=", each) for name, each in expression.kwargs]
    return f"{expression.function}(", ")", parts
