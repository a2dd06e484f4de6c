"""How expressions become readable lines of Python."""

from __future__ import annotations

from collections import ChainMap, Counter
from typing import Any

import numpy as np
import pytest

from porter.emit.keras.body import BodyWriter, FunctionBody
from porter.emit.keras.calls import expression_of, infix, item, ops
from porter.emit.tracing.expression import Expression, FunctionCall, Items, Literal, Ref
from porter.emit.tracing.printer import WIDTH, Printer

X = Ref(1)


def lines(*expressions: Expression) -> list[str]:
    """The body that returns the last of some symbols, of which the first, 1, is `x`."""
    definitions = ChainMap(dict(enumerate([Literal("x"), *expressions], start=1)))
    return BodyWriter(FunctionBody(definitions, Ref(len(definitions))), {}, Counter(["x"])).write()


def test_what_is_used_once_is_written_where_it_is_used() -> None:
    assert lines(ops("sqrt", X), infix("+", Ref(2), 1.5)) == ["return ops.sqrt(x) + 1.5"]


def test_what_is_used_twice_has_a_name() -> None:
    total = infix("*", Ref(2), Ref(2))
    assert lines(ops("sqrt", X), total) == ["sqrt = ops.sqrt(x)", "return sqrt * sqrt"]


def test_what_nobody_uses_is_left_out() -> None:
    assert lines(ops("sqrt", X), ops("exp", X)) == ["return ops.exp(x)"]


def test_operations_inside_of_operations_are_in_parentheses() -> None:
    assert lines(infix("-", X, -1), infix("*", Ref(2), 2)) == ["return (x - (-1)) * 2"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(0.5), "0.5"),
        (-float("inf"), 'float("-inf")'),
        (np.bool_(True), "True"),
        ('a"b', '"a\\"b"'),
        ((3,), "(3,)"),
        ([[1, None]], "[[1, None]]"),
        (np.array([X, 2], object), "[x, 2]"),
        (item(X, slice(None, 2), slice(1, None, 2), 0), "x[:2, 1::2, 0]"),
    ],
)
def test_values_in_python(value: Any, text: str) -> None:
    assert Printer({1: "x"}, explicit=True).text(expression_of(value)) == text


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("count", [3, 12, 40])
def test_long_lines_are_broken_and_mean_the_same(count: int, explicit: bool) -> None:
    words = FunctionCall('"a,(".count', (Literal('"a"'),))
    inside = Items(tuple(FunctionCall("max", (Literal(str(i)), words)) for i in range(count)))
    total = FunctionCall("sum", (inside,), (("start", FunctionCall("len", (Items((X,), "()"),))),))
    chain = infix("-", infix("*", total, 2), FunctionCall("min", (Literal("3"), Literal("4"))))
    for _ in range(count // 12):
        chain = infix("-", infix("+", chain, words), infix("*", -1, infix("-", chain, total)))
    printer = Printer({1: "x"}, explicit)
    whole = f"    y = {printer.text(chain)}"
    broken = printer.lines("y = ", chain, "", 4)
    assert (len(broken) > 1) == (len(whole) > WIDTH)
    assert max(map(len, broken)) <= WIDTH
    results: list[dict[str, Any]] = [{"x": 7}, {"x": 7}]
    exec(whole.strip(), results[0])
    exec("\n".join(broken).strip(), results[1])
    assert results[0]["y"] == results[1]["y"]
