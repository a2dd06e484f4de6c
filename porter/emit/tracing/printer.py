"""Expressions as Python text, in lines of at most `WIDTH` columns, broken as ruff and black do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from porter.emit.tracing.expression import (
    NOTHING,
    Dict,
    Expression,
    FunctionCall,
    Infix,
    Items,
    Literal,
    Negation,
    Ref,
    Slice,
    Subscript,
    quoted,
)

WIDTH = 100
"""Columns of an emitted file."""
COMPARISON = 2
BINDING = {
    "<": COMPARISON,
    "<=": COMPARISON,
    ">": COMPARISON,
    ">=": COMPARISON,
    "+": 3,
    "-": 3,
    "*": 4,
    "/": 4,
    "//": 4,
    "%": 4,
}
"""How strongly operators bind."""
NEGATION = 5
ATOM = 6

Names = Mapping[int, str]


def binding(expression: Expression) -> int:
    """How strongly the outermost operator binds."""
    if isinstance(expression, Infix):
        return BINDING[expression.operator]
    is_negative = isinstance(expression, Literal) and expression.text.startswith("-")
    return NEGATION if is_negative or isinstance(expression, Negation) else ATOM


@dataclass(frozen=True)
class Printer:
    """Prints expressions whose tensors have `names`.

    With `explicit`, each operand that is an operation stands in parentheses, needed or not.
    """

    names: Names
    explicit: bool = False

    def text(self, expression: Expression, least: int = 0) -> str:
        """On one line, in parentheses if it binds less strongly than `least`."""
        text = self.bare_text(expression)
        return f"({text})" if binding(expression) < least else text

    def bare_text(self, expression: Expression) -> str:
        """On one line."""
        match expression:
            case Ref():
                return self.names[expression.id]
            case Items() | Dict() | FunctionCall():
                opening, closing, parts = opened(expression)
                inside = ", ".join(before + self.text(each) for before, each in parts)
                is_single = is_tuple(expression) and len(parts) == 1
                return f"{opening}{inside}{',' if is_single else ''}{closing}"
            case Subscript():
                return f"{self.text(expression.of, ATOM)}{self.subscript(expression)}"
            case Slice():
                ends = f"{self.text(expression.start)}:{self.text(expression.stop)}"
                has_step = expression.step != NOTHING
                return f"{ends}:{self.text(expression.step)}" if has_step else ends
            case Infix():
                first, second = (self.text(*each) for each in self.operands(expression))
                return f"{first} {expression.operator} {second}"
            case Negation():
                return f"-{self.text(expression.operand, NEGATION)}"
        return str(expression)

    def subscript(self, expression: Subscript) -> str:
        return f"[{', '.join(map(self.text, expression.keys))}]"

    def operands(self, expression: Infix) -> list[tuple[Expression, int]]:
        """Both sides, and how strongly each must bind to stand without parentheses."""
        binds = BINDING[expression.operator]
        # Comparisons do not associate: a < b < c means something else.
        least = (binds + (binds == COMPARISON), binds + 1)
        if self.explicit:
            least = (ATOM, ATOM)
        return [(expression.first, least[0]), (expression.second, least[1])]

    def lines(
        self, before: str, expression: Expression, after: str = "", indent: int = 0
    ) -> list[str]:
        """A statement of one or more lines, broken where ruff and black would break it."""
        margin = " " * indent
        whole = f"{margin}{before}{self.text(expression)}{after}"
        if len(whole) <= WIDTH:
            return [whole]
        match expression:
            case Items() | Dict() | FunctionCall():
                return self.opened_lines(before, expression, after, indent)
            case Subscript(of=FunctionCall() as call):
                return self.lines(before, call, f"{self.subscript(expression)}{after}", indent)
        inner = f"{margin}    "
        inside = [f"{inner}{self.text(expression)}"]
        if len(inside[0]) > WIDTH and isinstance(expression, Infix):
            inside = self.operand_lines(expression, indent + 4)
        return [f"{margin}{before}(", *inside, f"{margin}){after}"]

    def opened_lines(
        self, before: str, expression: Items | Dict | FunctionCall, after: str, indent: int
    ) -> list[str]:
        """Brackets broken open: their content on a line of its own, or each part on one."""
        margin, inner = " " * indent, " " * (indent + 4)
        opening, closing, parts = opened(expression)
        inside = inner + ", ".join(p + self.text(each) for p, each in parts)
        head, tail = f"{margin}{before}{opening}", f"{margin}{closing}{after}"
        if isinstance(expression, FunctionCall):
            if len(inside) <= WIDTH:
                return [head, inside, tail]
            if len(parts) == 1:
                ((prefix, only),) = parts
                return [head, *self.lines(prefix, only, "", indent + 4), tail]
        broken = [line for p, each in parts for line in self.lines(p, each, ",", indent + 4)]
        return [head, *broken, tail]

    def operand_lines(self, expression: Infix, indent: int, before: str = "") -> list[str]:
        """Each operand on lines of its own, the operator in front of the second."""
        margin, lines = " " * indent, list[str]()
        for operand, least in self.operands(expression):
            whole = f"{margin}{before}{self.text(operand, least)}"
            if len(whole) <= WIDTH:
                lines.append(whole)
            elif not isinstance(operand, Infix):
                lines += self.lines(before, operand, "", indent)
            elif binding(operand) < least:
                inside = self.operand_lines(operand, indent + 4)
                lines += [f"{margin}{before}(", *inside, f"{margin})"]
            else:
                lines += self.operand_lines(operand, indent, before)
            before = f"{expression.operator} "
        return lines


def is_tuple(expression: Expression) -> bool:
    return isinstance(expression, Items) and expression.brackets == "()"


def opened(
    expression: Items | Dict | FunctionCall,
) -> tuple[str, str, list[tuple[str, Expression]]]:
    """What stands before, behind and between the brackets."""
    if isinstance(expression, Items):
        return *expression.brackets, [("", each) for each in expression.items]
    if isinstance(expression, Dict):
        return "{", "}", [(f"{quoted(key)}: ", each) for key, each in expression.items]
    parts = [("", each) for each in expression.args]
    parts += [(f"{name}=", each) for name, each in expression.kwargs]
    return f"{expression.function}(", ")", parts
