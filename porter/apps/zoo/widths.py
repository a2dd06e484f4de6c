"""Patterns of widths: `3>a a>2a 2a>4a ... a>3`.

A term is a number, a letter that stands for any width, a multiple of a letter, `*`, or `!` and a
number that the width is not. Letters have one value in all of a pattern. `...`, once at most,
stands for any modules.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

TERM = re.compile(r"(\d*)([a-z]?)|\*|!\d+")
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
    """Whether a text is a number, a letter, a multiple or a star."""
    return bool(text) and TERM.fullmatch(text) is not None


def fits(pattern: str, widths: Sequence[tuple[int, int]]) -> bool:
    """Whether the widths of a net's modules with weights are as a pattern says."""
    words = pattern.split()
    if not words:
        return True
    if REST in words:
        at = words.index(REST)
        first, last = words[:at], words[at + 1 :]
        if len(widths) < len(first) + len(last):
            return False
        pairs = [*widths[:at], *widths[len(widths) - len(last) :]]
        words = first + last
    else:
        pairs = list(widths)
    if len(words) != len(pairs):
        return False
    bound: Bindings = {}
    return all(
        agrees(term, width, bound)
        for word, pair in zip(words, pairs, strict=True)
        for term, width in zip(word.split(">"), pair, strict=True)
    )


def agrees(term: str, width: int, bound: Bindings) -> bool:
    """Whether a width is what a term says; binds a letter that comes for the first time."""
    if term == "*":
        return True
    if term.startswith("!"):
        return width != int(term[1:])
    match = TERM.fullmatch(term)
    assert match is not None
    factor, letter = int(match[1] or 1), match[2]
    if not letter:
        return width == factor
    if letter not in bound:
        if width % factor:
            return False
        bound[letter] = width // factor
    return width == factor * bound[letter]
