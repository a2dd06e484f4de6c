"""The body of a function: a recorded layer as lines of Python.

What is used once and stays short is written where it is used; everything else gets a name.
"""

from __future__ import annotations

import re
from collections import ChainMap, Counter
from dataclasses import dataclass

from porter.emit.tracing.expression import (
    Expression,
    FunctionCall,
    Infix,
    Literal,
    Ref,
    Subscript,
    references,
    rewrite,
)
from porter.emit.tracing.printer import Printer

MAX_INLINE = 40
"""An expression of more characters gets a name of its own."""
RESERVED = frozenset({"self", "ops", "keras", "math", "carry", "elements", "step", "init"})
OPERATION_NAMES = {
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
"""What a variable that holds the result of an operation is called."""


@dataclass
class FunctionBody:
    """What a function computes, and what it returns.

    Symbols of its own are in the first map of `definitions`, those of the functions around it in
    the others.
    """

    definitions: ChainMap[int, Expression]
    results: Expression

    def reads(self) -> list[int]:
        """The symbols that it reads, its own among them."""
        inside = [i for each in self.definitions.maps[0].values() for i in reads(each)]
        # Twice, so that what comes from outside is named before the function is defined.
        return [*inside, *inside, *references(self.results)]


@dataclass(frozen=True, eq=False)
class LocalFunction(Expression):
    """A function defined inside of another one."""

    name: str
    parameters: tuple[str, ...]
    body: FunctionBody

    def __str__(self) -> str:
        return self.name


def reads(expression: Expression) -> list[int]:
    """The symbols that an expression reads, each as often as it does."""
    if isinstance(expression, LocalFunction):
        return expression.body.reads()
    return references(expression)


def is_atom(expression: Expression) -> bool:
    """Whether it is too small for a name: a number, a word, an attribute, a parameter's element."""
    if isinstance(expression, Subscript):
        return isinstance(expression.of, Literal)
    return isinstance(expression, Literal)


class BodyWriter:
    """Writes symbols as text and collects the lines that must come before."""

    def __init__(
        self, body: FunctionBody, names: dict[int, str], used: Counter[str], indent: int = 0
    ) -> None:
        self.definitions, self.results = body.definitions, body.results
        self.names = names
        self.used = used
        self.indent = indent
        self.printer = Printer(names, explicit=True)
        self.lines: list[str] = []

    def inlined(self, expression: Expression) -> Expression:
        """With the expressions of all symbols that have no name."""

        def resolve(node: Expression) -> Expression:
            if not isinstance(node, Ref) or node.id in self.names:
                return node
            return self.inlined(self.definitions[node.id])

        return rewrite(expression, resolve)

    def write(self) -> list[str]:
        """The lines that compute the results, ended by a return."""
        own = self.definitions.maps[0]
        uses = Counter(references(self.results))
        for id in reversed(list(own)):
            if id in uses:
                uses.update(reads(own[id]))
        for id, expression in own.items():
            if id not in uses or id in self.names:
                continue
            if isinstance(expression, LocalFunction):
                self.function(expression)
            elif not is_atom(expression):
                inlined = self.inlined(expression)
                if uses[id] > 1 or len(self.printer.text(inlined)) > MAX_INLINE:
                    name = self.fresh_name(self.stem(expression))
                    self.statement(f"{name} = ", inlined)
                    self.names[id] = name
        self.statement("return ", self.inlined(self.results))
        return self.lines

    def function(self, function: LocalFunction) -> None:
        inner = BodyWriter(function.body, self.names, self.used, self.indent + 4).write()
        margin = " " * self.indent
        head = f"{margin}def {function.name}({', '.join(function.parameters)}):"
        self.lines += ["", head, *inner, ""]

    def statement(self, before: str, expression: Expression) -> None:
        self.lines += self.printer.lines(before, expression, "", self.indent)

    def stem(self, expression: Expression) -> str:
        """What a variable that holds it is called."""
        if isinstance(expression, FunctionCall):
            return re.sub(r"\W", "_", expression.function.rsplit(".", 1)[-1])
        if isinstance(expression, Infix):
            return OPERATION_NAMES[expression.operator]
        of = expression.of if isinstance(expression, Subscript) else None
        whole = self.definitions.get(of.id) if isinstance(of, Ref) else None
        is_size = isinstance(whole, FunctionCall) and whole.function == "ops.shape"
        return "size" if is_size else "part"

    def fresh_name(self, stem: str) -> str:
        """A variable's name that is not used yet."""
        while True:
            self.used[stem] += 1
            count = self.used[stem]
            name = stem if count == 1 else f"{stem}_{count}"
            if name not in RESERVED:
                return name
