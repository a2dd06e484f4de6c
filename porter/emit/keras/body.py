"""Python expressions, and how a body of a function is printed from them.

What is used once and stays short is written where it is used; everything else gets a name. Nothing
here knows of TensorFlow or Keras.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from porter.emit.keras.wrapping import wrapped

LONGEST = 40
"""An expression of more characters gets a name of its own."""
RESERVED = frozenset({"self", "ops", "keras", "math", "carry", "elements", "step", "init"})


class Expression:
    """Something that can be written in Python."""

    stem = "value"
    """What a variable that holds it is called."""
    is_atom = False
    """Whether it is too small for a name: a name, a number, an attribute."""

    def parts(self) -> Iterator[Any]:
        """The values it is made of."""
        return iter(())

    def source(self, write: Writer) -> str:
        """Its text, with the values it is made of written by `write`."""
        raise NotImplementedError


@dataclass(eq=False)
class Name(Expression):
    """A variable, an attribute, or a literal in Python's own words."""

    text: str
    is_atom = True

    def source(self, write: Writer) -> str:
        return self.text


@dataclass(eq=False)
class Call(Expression):
    """`function(*args, **options)`."""

    function: str
    args: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def stem(self) -> str:  # type: ignore[override]
        return self.function.rsplit(".", 1)[-1]

    def parts(self) -> Iterator[Any]:
        yield from self.args
        yield from self.options.values()

    def source(self, write: Writer) -> str:
        written = [write(each) for each in self.args]
        written += [f"{name}={write(value)}" for name, value in self.options.items()]
        return f"{self.function}({', '.join(written)})"


OPERATORS = {
    "+": "sum",
    "-": "difference",
    "*": "product",
    "/": "quotient",
    "//": "quotient",
    "%": "rest",
    ">": "above",
    "<": "below",
    ">=": "above",
    "<=": "below",
}


@dataclass(eq=False)
class Infix(Expression):
    """`first operator second`."""

    operator: str
    first: Any
    second: Any

    @property
    def stem(self) -> str:  # type: ignore[override]
        return OPERATORS[self.operator]

    def parts(self) -> Iterator[Any]:
        yield from (self.first, self.second)

    def source(self, write: Writer) -> str:
        return f"{write.operand(self.first)} {self.operator} {write.operand(self.second)}"


@dataclass(eq=False)
class Item(Expression):
    """`value[key, …]`; slices of Python are keys."""

    value: Any
    keys: tuple[Any, ...]
    stem: str = "part"

    def parts(self) -> Iterator[Any]:
        yield self.value
        for key in self.keys:
            yield from (key.start, key.stop, key.step) if isinstance(key, slice) else (key,)

    def source(self, write: Writer) -> str:
        def key_text(key: Any) -> str:
            if not isinstance(key, slice):
                return write(key)
            ends = ":".join("" if each is None else write(each) for each in (key.start, key.stop))
            return ends if key.step in (None, 1) else f"{ends}:{write(key.step)}"

        return f"{write.operand(self.value)}[{', '.join(map(key_text, self.keys))}]"


@dataclass(eq=False)
class Block(Expression):
    """A function defined inside of the body: parameters, own values, and what it returns."""

    name: str
    parameters: tuple[str, ...]
    held: tuple[Any, ...]
    """Values in the order in which they were made."""
    results: Any
    is_atom = True

    def parts(self) -> Iterator[Any]:
        # Twice, so that what comes from outside is named before the function is defined.
        inside = [value.expression for value in self.held]
        yield from (*inside, *inside, self.results)

    def source(self, write: Writer) -> str:
        return self.name


def values_of(item: Any) -> Iterator[Any]:
    """The values with an expression of their own inside of lists, tuples and arrays."""
    if hasattr(item, "expression"):
        yield item
    elif isinstance(item, Expression):
        for part in item.parts():
            yield from values_of(part)
    elif isinstance(item, list | tuple) or (isinstance(item, np.ndarray) and item.dtype == object):
        for each in item:
            yield from values_of(each)


class Writer:
    """Writes values as text and collects the lines that must come before."""

    def __init__(self, indent: str, names: dict[int, str], taken: Counter[str]) -> None:
        self.indent = indent
        self.names = names
        self.taken = taken
        self.lines: list[str] = []

    def __call__(self, item: Any) -> str:
        if hasattr(item, "expression"):
            return self.names.get(id(item)) or item.expression.source(self)
        if isinstance(item, Expression):
            return item.source(self)
        if isinstance(item, np.ndarray):
            return self(item.tolist())
        if isinstance(item, list):
            return f"[{', '.join(map(self, item))}]"
        if isinstance(item, tuple):
            inside = ", ".join(map(self, item))
            return f"({inside},)" if len(item) == 1 else f"({inside})"
        return literal(item)

    def operand(self, item: Any) -> str:
        """In parentheses where it is an operation or a negative number."""
        text = self(item)
        expression = getattr(item, "expression", item)
        named = id(item) in self.names
        bare = named or (not isinstance(expression, Infix) and not text.startswith("-"))
        return text if bare else f"({text})"

    def fresh(self, stem: str) -> str:
        """A variable's name that is not taken."""
        stem = re.sub(r"\W", "_", stem)
        while True:
            self.taken[stem] += 1
            count = self.taken[stem]
            name = stem if count == 1 else f"{stem}_{count}"
            if name not in RESERVED:
                return name

    def body(self, held: tuple[Any, ...], results: Any) -> None:
        """The lines that compute `results`, ended by a return."""
        needed, uses = reachable(held, results)
        for value in held:
            if id(value) not in needed or id(value) in self.names:
                continue
            expression = value.expression
            if isinstance(expression, Block):
                self.function(expression)
            elif not expression.is_atom:
                text = expression.source(self)
                if uses[id(value)] > 1 or len(text) > LONGEST:
                    name = self.fresh(expression.stem)
                    self.line(f"{name} = {text}")
                    self.names[id(value)] = name
        self.line(f"return {self(results)}")

    def function(self, block: Block) -> None:
        inner = Writer(self.indent + "    ", self.names, self.taken)
        self.line("")
        self.line(f"def {block.name}({', '.join(block.parameters)}):")
        inner.body(block.held, block.results)
        self.lines += [*inner.lines, ""]

    def line(self, text: str) -> None:
        self.lines += wrapped(f"{self.indent}{text}") if text else [""]


def reachable(held: tuple[Any, ...], results: Any) -> tuple[set[int], Counter[int]]:
    """Which values the results need, and how often each is used by those."""
    uses: Counter[int] = Counter(id(value) for value in values_of(results))
    needed = set(uses)
    for value in reversed(held):
        if id(value) in needed:
            for part in values_of(value.expression):
                uses[id(part)] += 1
                needed.add(id(part))
    return needed, uses


def literal(item: Any) -> str:
    """A number, a word, a truth value or None in Python."""
    if isinstance(item, bool | np.bool_):
        return str(bool(item))
    if isinstance(item, int | np.integer):
        return str(int(item))
    if isinstance(item, float | np.floating):
        number = float(item)
        return repr(number) if math.isfinite(number) else f'float("{number}")'
    if isinstance(item, str):
        return json.dumps(item)
    assert item is None, f"{type(item).__name__} has no literal"
    return "None"
