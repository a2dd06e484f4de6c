"""Names are unique: a class that is met in a message or a traceback is found by its name alone."""

from __future__ import annotations

import ast
import tokenize
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
VAGUE = ("made", "held", "told", "wanted", "given", "seen", "taken")
"""Participles that say what happened to a thing, and not what it is."""


def sources() -> list[Path]:
    """Every file of the library."""
    return sorted(path for name in ("porter", "layer_maps") for path in (ROOT / name).rglob("*.py"))


def test_no_class_name_stands_twice() -> None:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_names_say_what_a_thing_is() -> None:
    vague: set[str] = set()
    for path in sources():
        with path.open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                words = token.string.split("_")
                if token.type == tokenize.NAME and {words[0], words[-1]} & set(VAGUE):
                    vague.add(f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string}")
    assert vague == set()
