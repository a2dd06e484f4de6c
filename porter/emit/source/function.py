"""A Python function of straight lines, and the names of its local variables.

A name is reused as soon as its tensor is no longer read: a chain of layers is written
`x = ...; x = ...`, and a second name appears where a second tensor is alive.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from porter.emit.source.operators import lines
from porter.emit.tracing.expression import Expression, Ref, references
from porter.emit.tracing.printer import WIDTH
from porter.ir.liveness import last_uses

LETTERS = ("x", "y", "z", *"abcdefghijkmnpqrstuv")
INDENT = 4


@dataclass(frozen=True)
class Statement:
    """`targets = expression`; a target that nobody reads is None."""

    targets: tuple[int | None, ...]
    expression: Expression
    comment: str = ""


@dataclass
class Function:
    """`def name(parameters)`, where `inputs` are those parameters that are tensors.

    `preferred` are names for local variables; tensors without one are called by letters.
    """

    name: str
    parameters: list[str]
    inputs: dict[int, str]
    statements: list[Statement]
    returned: Expression
    doc: str
    preferred: dict[int, str] = field(default_factory=dict)
    last: str = ""
    """The comment on the return statement."""

    def lines(self) -> list[str]:
        """The function's source."""
        self.drop_unread()
        self.return_last()
        names = self.names()
        source = [*self.signature(), f'    """{one_line(self.doc)}"""']
        for statement in self.statements:
            targets = [names[each] if each is not None else "_" for each in statement.targets]
            source += commented(
                lines(f"{', '.join(targets)} = ", statement.expression, names, INDENT),
                statement.comment,
            )
        return source + commented(lines("return ", self.returned, names, INDENT), self.last)

    def signature(self) -> list[str]:
        """The `def` line, broken if it must be."""
        whole = f"def {self.name}({', '.join(self.parameters)}):"
        if len(whole) <= WIDTH:
            return [whole]
        inside = f"    {', '.join(self.parameters)}"
        if len(inside) <= WIDTH:
            return [f"def {self.name}(", inside, "):"]
        return [f"def {self.name}(", *(f"    {name}," for name in self.parameters), "):"]

    def drop_unread(self) -> None:
        """Leave out lines whose results nobody reads."""
        read = set(references(self.returned))
        kept: list[Statement] = []
        for statement in reversed(self.statements):
            targets = tuple(each if each in read else None for each in statement.targets)
            if any(each is not None for each in targets):
                kept.append(Statement(targets, statement.expression, statement.comment))
                read |= set(references(statement.expression))
        self.statements = kept[::-1]

    def return_last(self) -> None:
        """Return what the last line makes, if that is all that is returned."""
        if self.statements and self.returned == Ref(self.statements[-1].targets[-1] or 0):
            last = self.statements[-1]
            if len(last.targets) == 1:
                self.statements.pop()
                self.returned, self.last = last.expression, last.comment

    def names(self) -> dict[int, str]:
        """A name for every tensor; no two that are alive at the same time share one."""
        expressions = [*(each.expression for each in self.statements), self.returned]
        last = last_uses(map(references, expressions))
        names = dict(self.inputs)
        fixed = set(self.parameters) - set(self.inputs.values())
        holders = {name: identity for identity, name in self.inputs.items()}
        for position, statement in enumerate(self.statements):
            busy = fixed | {n for n, i in holders.items() if last.get(i, -1) > position}
            dying = [
                names[i]
                for i in references(statement.expression)
                if last[i] == position and names[i] not in self.preferred.values()
            ]
            for target in statement.targets:
                if target is None:
                    continue
                name = next(n for n in self.candidates(target, dying) if n not in busy)
                names[target] = name
                holders[name] = target
                busy.add(name)
        return names

    def candidates(self, target: int, dying: list[str]) -> Iterator[str]:
        """Names for a tensor, the best first: the preferred one, else that of a tensor which is
        read here for the last time, else a letter.
        """
        if target in self.preferred:
            stem = self.preferred[target]
            yield stem
            yield from (f"{stem}_{number}" for number in itertools.count(2))
        yield from sorted((n for n in dying if n in LETTERS), key=LETTERS.index)
        yield from letters()


def letters() -> Iterator[str]:
    """x, y, z, a, b …, and when there are no more, x1, x2 …"""
    yield from LETTERS
    yield from (f"x{number}" for number in itertools.count(1))


def commented(statement: list[str], comment: str) -> list[str]:
    """A comment behind the statement where it fits, else above it."""
    if not comment:
        return statement
    beside = f"{statement[0]}  # {one_line(comment)}"
    if len(statement) == 1 and len(beside) <= WIDTH:
        return [beside]
    return [" " * INDENT + f"# {one_line(comment)}", *statement]


def one_line(words: str) -> str:
    """Words that end neither a comment nor a docstring: class names come from the file."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in words)
    return printable.replace("\\", "/").replace('"', "'")
