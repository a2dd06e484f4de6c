"""Expressions as Python text, in lines of at most `WIDTH` columns, broken as ruff and black do.

Arithmetic on tensors is written with Python's operators, which call the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping

from porter.emit.source.expression import (
    Call,
    Constant,
    Expression,
    Items,
    Path,
    Ref,
    Subscript,
    Table,
    Weight,
    Weights,
    quoted,
)

WIDTH = 100
"""Columns of the emitted file."""
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
"""Operators that call the same function, and how strongly they bind."""
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
        return f"{module}[{quoted(expression.name)}]"
    if isinstance(expression, Items):
        inside = ", ".join(text(each, names) for each in expression.items)
        comma = "," if expression.brackets == "()" and len(expression.items) == 1 else ""
        return f"{expression.brackets[0]}{inside}{comma}{expression.brackets[1]}"
    if isinstance(expression, Table):
        pairs = [f"{quoted(key)}: {text(each, names)}" for key, each in expression.items]
        return "{" + ", ".join(pairs) + "}"
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
        return "{", "}", [(f"{quoted(key)}: ", each) for key, each in expression.items]
    parts = [("", each) for each in expression.args]
    parts += [(f"{name}=", each) for name, each in expression.kwargs]
    return f"{expression.function}(", ")", parts
