"""Patterns of sketches: regular expressions that no file can make run for long.

A search that tries one way after the other, as Python's `re` does, may need time exponential in the
length of a net, and nets come from files that nobody vouches for. Here all places that a part may
end at are followed together, so that a net costs a few passes over its sketch.

Of regular expressions there are literals, `\\.` for a dot, `.` `[abc]` `[^abc]` `\\d` for one
character, groups `( | )`, the repetitions `?` `*` `+` `{2}` `{2,}` `{2,4}`, and `(?=…)` for what
must follow. Blanks do not count. Thompson, Regular expression search algorithm (1968).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

Ends = Callable[[str, set[int]], set[int]]
"""From a text and the places where a part may begin to those where it may end."""

WORD = re.compile(
    r"(?P<open>\((?:\?=)?)|(?P<close>\))|(?P<or>\|)|(?P<one>\[\^?[^\]]+\]|\\.|\.)"
    r"|(?P<repeat>[?*+]|\{\d+(?:,\d*)?\})|(?P<literal>[^()|\[\]{}\\.?*+]+)"
)
COUNTS = {"?": (0, 1), "*": (0, None), "+": (1, None)}


@cache
def parse(pattern: str) -> Ends:
    """What a pattern matches. Raises ValueError for one that cannot be read."""
    text = "".join(pattern.split())
    words: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        word = WORD.match(text, at)
        if word is None:
            raise ValueError(f"'{text[at : at + 20]}' cannot be read in the pattern of a sketch")
        at = word.end()
        kind = str(word.lastgroup)
        follows = WORD.match(text, at)
        if kind == "literal" and len(word[0]) > 1 and follows and follows["repeat"]:
            words += [(kind, word[0][:-1]), (kind, word[0][-1])]  # repeated is the last character
        else:
            words.append((kind, word[0]))
    words.reverse()
    ends = alternatives(words)
    if words:
        raise ValueError(f"'{words[-1][1]}' closes nothing in the pattern of a sketch")
    return ends


def fullmatch(pattern: str, text: str) -> bool:
    """Whether a pattern matches all of a text."""
    return len(text) in parse(pattern)(text, {0})


def alternatives(words: list[tuple[str, str]]) -> Ends:
    """Sequences divided by `|`; takes their words from the end of a list."""
    options = [sequence(words)]
    while words and words[-1][0] == "or":
        words.pop()
        options.append(sequence(words))
    if len(options) == 1:
        return options[0]
    return lambda text, starts: set().union(*(option(text, starts) for option in options))


def sequence(words: list[tuple[str, str]]) -> Ends:
    """One part after the other."""
    parts: list[Ends] = []
    while words and words[-1][0] not in ("or", "close"):
        part = single(words)
        if words and words[-1][0] == "repeat":
            part = repeated(part, *counts(words.pop()[1]))
        parts.append(part)

    def ends(text: str, starts: set[int]) -> set[int]:
        for part in parts:
            if not starts:
                break
            starts = part(text, starts)
        return starts

    return ends


def single(words: list[tuple[str, str]]) -> Ends:
    """A literal, a character or a group."""
    kind, word = words.pop()
    if kind == "literal":
        return lambda text, starts: {at + len(word) for at in starts if text.startswith(word, at)}
    if kind == "one":
        match = re.compile(word).match
        return lambda text, starts: {at + 1 for at in starts if match(text, at)}
    if kind != "open":
        raise ValueError(f"'{word}' repeats nothing in the pattern of a sketch")
    inner = alternatives(words)
    if not words:
        raise ValueError("a parenthesis is not closed in the pattern of a sketch")
    words.pop()
    if word == "(":
        return inner
    return lambda text, starts: {at for at in starts if inner(text, {at})}


def counts(word: str) -> tuple[int, int | None]:
    """How often at least and at most, from `+` or `{2,4}`."""
    if word in COUNTS:
        return COUNTS[word]
    least, comma, most = word[1:-1].partition(",")
    return int(least), int(most) if most else None if comma else int(least)


def repeated(part: Ends, least: int, most: int | None) -> Ends:
    """A part several times."""

    def ends(text: str, starts: set[int]) -> set[int]:
        for _ in range(least):
            starts = part(text, starts)
        reached, count = set(starts), least
        while starts and (most is None or count < most):
            starts = part(text, starts) - reached
            reached |= starts
            count += 1
        return reached

    return ends
