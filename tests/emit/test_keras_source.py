"""How expressions become readable lines of Python."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from porter.emit.keras.expressions import Call, Expression, Infix, Item, Name, Writer
from porter.emit.keras.traced import Traced
from porter.emit.keras.wrapping import WIDTH, wrapped


def value(expression: Expression) -> Traced:
    return Traced(None, expression)


def lines(*held: Traced) -> list[str]:
    writer = Writer("", {}, Counter(["x"]))
    writer.body(held, held[-1])
    return writer.lines


X = value(Name("x"))


def test_what_is_used_once_is_written_where_it_is_used() -> None:
    root = value(Call("ops.sqrt", (X,)))
    assert lines(X, root, value(Infix("+", root, 1.5))) == ["return ops.sqrt(x) + 1.5"]


def test_what_is_used_twice_has_a_name() -> None:
    root = value(Call("ops.sqrt", (X,)))
    total = value(Infix("*", root, root))
    assert lines(X, root, total) == ["sqrt = ops.sqrt(x)", "return sqrt * sqrt"]


def test_what_nobody_uses_is_left_out() -> None:
    unused = value(Call("ops.sqrt", (X,)))
    assert lines(X, unused, value(Call("ops.exp", (X,)))) == ["return ops.exp(x)"]


def test_operations_inside_of_operations_are_in_parentheses() -> None:
    inner = value(Infix("-", X, -1))
    assert lines(X, inner, value(Infix("*", inner, 2))) == ["return (x - (-1)) * 2"]


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (np.float32(0.5), "0.5"),
        (-float("inf"), 'float("-inf")'),
        (np.bool_(True), "True"),
        ('a"b', '"a\\"b"'),
        ((3,), "(3,)"),
        ([[1, None]], "[[1, None]]"),
        (np.array([X, 2], object), "[x, 2]"),
        (Item(X, (slice(None, 2), slice(1, None, 2), 0)), "x[:2, 1::2, 0]"),
    ],
)
def test_values_in_python(item: Any, text: str) -> None:
    assert Writer("", {}, Counter())(item) == text


@pytest.mark.parametrize("count", [3, 12, 40])
def test_long_lines_are_broken_and_mean_the_same(count: int) -> None:
    inside = ", ".join(f'max({i}, "a,(".count("a"), {i})' for i in range(count))
    line = f"    y = sum([{inside}], start=len((7,))) + min(3, 4)"
    broken = wrapped(line)
    assert (len(broken) > 1) == (len(line) > WIDTH)
    assert max(map(len, broken)) <= WIDTH
    results: list[dict[str, Any]] = [{}, {}]
    exec(line.strip(), results[0])
    exec("\n".join(broken).strip(), results[1])
    assert results[0]["y"] == results[1]["y"]
