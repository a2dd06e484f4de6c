"""Patterns of sketches match what regular expressions match, and never take long."""

from __future__ import annotations

import re
from itertools import product

import pytest

from porter.apps.zoo.pattern import fullmatch, parse

PATTERNS = (
    "",
    "ab",
    "a b",
    "ab?",
    "ab*a",
    "(ab)+",
    "(a|b)*c",
    "a|bc",
    "(a|ab)(c|bc)?",
    "(a{2}b?){1,2}",
    "(ab|a){2,}",
    "(a*)*b",
    "(a?b?){2}c",
    "[ab]c",
    "[^a]+",
    ".*b.",
    "(?=.*c)a.*",
    "(a(b|c)?)+",
    "((a|b)+c)+",
)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_matches_what_it_does_as_a_regular_expression(pattern: str) -> None:
    expected = re.compile(pattern, re.VERBOSE)
    for length in range(6):
        for letters in product("abc", repeat=length):
            text = "".join(letters)
            assert fullmatch(pattern, text) is (expected.fullmatch(text) is not None), text


def test_escapes() -> None:
    assert fullmatch(r"w2nn\.LeakyReLU; \d", "w2nn.LeakyReLU;7")
    assert not fullmatch(r"w2nn\.LeakyReLU;", "w2nnxLeakyReLU;")


@pytest.mark.parametrize("pattern", ["(a", "a)", "*a", "(|*)", "a{", "[", "a]", "(?:a)", "a+?"])
def test_a_pattern_that_cannot_be_read(pattern: str) -> None:
    with pytest.raises(ValueError, match="of a sketch"):
        parse(pattern)


def test_a_net_that_would_occupy_a_search_with_backtracking_for_ever() -> None:
    assert not fullmatch("((a|b)+(a|c)+)+d", "a" * 2_000)
    assert not fullmatch("((a;|b;)+b;c;(a;|b;)+)+", "a;b;b;c;a;a;b;" * 500 + "x")
    assert fullmatch("((a|b)+(a|c)+)+d", "a" * 2_000 + "d")
