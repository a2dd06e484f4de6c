"""Arithmetic on tensors with Python's operators, which call the same functions."""

from __future__ import annotations

from porter.emit.tracing.expression import (
    Expression,
    FunctionCall,
    Infix,
    Items,
    Literal,
    Negation,
    rewrite,
)
from porter.emit.tracing.printer import Names, Printer

OPERATORS = {
    "tf.add": "+",
    "tf.subtract": "-",
    "tf.multiply": "*",
    "tf.divide": "/",
    "tf.math.floordiv": "//",
    "tf.math.floormod": "%",
    "tf.less": "<",
    "tf.less_equal": "<=",
    "tf.greater": ">",
    "tf.greater_equal": ">=",
}


def with_operators(expression: Expression) -> Expression:
    """One side of an operator must be a tensor, and the first no list."""

    def change(node: Expression) -> Expression:
        if not isinstance(node, FunctionCall) or node.kwargs:
            return node
        no_tensor = [isinstance(each, Literal | Items) for each in node.args]
        if node.function == "tf.negative" and not all(no_tensor):
            return Negation(*node.args)
        if node.function not in OPERATORS or len(node.args) != 2 or all(no_tensor):
            return node
        if isinstance(node.args[0], Items):
            return node
        return Infix(OPERATORS[node.function], *node.args)

    return rewrite(expression, change)


def text(expression: Expression, names: Names) -> str:
    """The expression on one line, with the tensors' `names`."""
    return Printer(names).text(with_operators(expression))


def lines(before: str, expression: Expression, names: Names, indent: int = 0) -> list[str]:
    """The statement `before expression`, in as many lines as it takes."""
    return Printer(names).lines(before, with_operators(expression), "", indent)
