"""What numbers are called: by the arguments of TensorFlow's functions that they are."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from functools import cache
from operator import attrgetter

from porter.emit.tracing.expression import (
    Dict,
    Expression,
    FunctionCall,
    Items,
    Literal,
    Subscript,
)

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


def number_arguments(expressions: Sequence[Expression], argument: str = "") -> Iterator[str]:
    """Of which argument each number is a part, in order."""
    for expression in expressions:
        if isinstance(expression, Literal) and expression.is_number:
            yield argument.lower() or "n"
        elif isinstance(expression, FunctionCall):
            names = argument_names(expression.function, len(expression.args))
            for name, each in zip(names, expression.args, strict=True):
                yield from number_arguments([each], name)
            for name, each in expression.kwargs:
                yield from number_arguments([each], name)
        elif isinstance(expression, Dict):
            for key, each in expression.items:
                yield from number_arguments([each], key)
        elif isinstance(expression, Items):
            yield from number_arguments(expression.items, argument)
        elif isinstance(expression, Subscript):
            yield from number_arguments([expression.of], argument)


@cache
def argument_names(function: str, count: int) -> tuple[str, ...]:
    """The names of a TensorFlow function's first parameters; "" where there is none."""
    names: list[str] = []
    if function in OPERANDS:
        names = [OPERANDS[function]] * 2
    elif function.startswith("tf."):
        from porter.system.tensorflow import tf

        real = attrgetter(function.removeprefix("tf."))(tf)
        names = list(inspect.signature(real).parameters)
    return tuple((names + [""] * count)[:count])
