"""Patterns of widths: `3>a a>2a 2a>4a ... a>3`.

A term is a number, a letter that stands for any width, a multiple of a letter, a sum of these such
as `a+2b`, `*`, or `!` and a number that the width is not. Letters have one value in all of a
pattern. `...`, once at most, stands for any modules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

PART = re.compile(r"(\d*)([a-z]?)")
TERM = re.compile(r"(\d+|\d*[a-z])(\+(\d+|\d*[a-z]))*|\*|!\d+")
REST = "..."

Bindings = dict[str, int]


def require_pattern(pattern: str) -> None:
    """Raise ValueError for a pattern with a word that cannot be read."""
    words = pattern.split()
    if words.count(REST) > 1:
        raise ValueError(f"'{REST}' stands more than once in {pattern}")
    for word in words:
        sides = word.split(">")
        if word != REST and (len(sides) != 2 or not all(map(is_term, sides))):
            raise ValueError(f"'{word}' in {pattern} should be like 3>a, a>2a or *>10")


def is_term(text: str) -> bool:
    """Whether a text is a term."""
    return TERM.fullmatch(text) is not None


def bindings(
    pattern: str, widths: Sequence[tuple[int, int]], known: Mapping[str, int] | None = None
) -> Bindings | None:
    """The value of each letter, if the widths of a net's modules with weights are as a pattern
    says; else None. `known` are letters that have values before.
    """
    words = pattern.split()
    bound: Bindings = dict(known or {})
    if not words:
        return bound
    pairs = list(widths)
    if REST in words:
        first = words.index(REST)
        last = len(words) - first - 1
        if len(pairs) < first + last:
            return None
        pairs = [*pairs[:first], *pairs[len(pairs) - last :]]
        words.remove(REST)
    if len(words) != len(pairs):
        return None
    fitting = all(
        agrees(term, width, bound)
        for word, pair in zip(words, pairs, strict=True)
        for term, width in zip(word.split(">"), pair, strict=True)
    )
    return bound if fitting else None


def agrees(term: str, width: int, bound: Bindings) -> bool:
    """Whether a width is what a term says; binds a letter that comes for the first time."""
    if term == "*":
        return True
    if term.startswith("!"):
        return width != int(term[1:])
    new: tuple[int, str] | None = None
    for part in term.split("+"):
        match = PART.fullmatch(part)
        assert match is not None
        factor, letter = int(match[1] or 1), match[2]
        if letter and letter not in bound and new is None:
            new = factor, letter
        else:
            width -= factor * (bound.get(letter, 0) if letter else 1)
    if new is None:
        return width == 0
    factor, letter = new
    if width <= 0 or width % factor:
        return False
    bound[letter] = width // factor
    return True
