"""Break lines of Python that are too long, as formatters do: one argument a line."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

WIDTH = 100
OPENING, CLOSING = "([{", ")]}"


def wrapped(line: str) -> list[str]:
    """`line`, broken inside of its longest brackets until every part fits or has none."""
    if len(line) <= WIDTH:
        return [line]
    groups = list(outermost(line))
    if not groups:
        return [line]
    start, end, commas = max(groups, key=lambda group: group[1] - group[0])
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    cuts = [start, *commas, end]
    inside = [line[a + 1 : b].strip() for a, b in pairwise(cuts)]
    parts = [each for each in inside if each]
    # A comma behind the only element of brackets without any would make a tuple of it.
    comma = "," if commas else ""
    broken = [piece for each in parts for piece in wrapped(f"{indent}{each}{comma}")]
    return [line[: start + 1], *broken, indent[4:] + line[end:]]


def outermost(line: str) -> Iterator[tuple[int, int, list[int]]]:
    """Each pair of brackets that is inside of no other: where it opens, closes and has commas."""
    depth, start, quoted = 0, 0, False
    commas: list[int] = []
    for place, letter in enumerate(line):
        if letter == '"' and line[place - 1] != "\\":
            quoted = not quoted
        elif quoted:
            continue
        elif letter in OPENING:
            depth += 1
            if depth == 1:
                start, commas = place, []
        elif letter in CLOSING:
            depth -= 1
            if depth == 0:
                yield start, place, commas
        elif letter == "," and depth == 1:
            commas.append(place)
