"""What the command line calls a parameter: messages of the library name keyword arguments."""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path

import pytest

from porter.cli import main as cli
from porter.cli.spelling import KEYWORD

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = [
    path for path in sorted((ROOT / "porter").rglob("*.py")) if "cli" not in path.parts
] + sorted((ROOT / "layer_maps").glob("*.py"))
OPTION = re.compile(r"(?:^|(?<=[\s(`]))(?:--[a-z][a-z-]+|-o)\b")
OWN = {
    "porter/apps/check/pytest_plugin.py",  # an option of pytest's
    "porter/apps/zoo/listing.py",  # the command that a page shows
    "porter/apps/zoo/systems.py",
    "porter/system/extras.py",  # the command line of pip
}
"""Options that are none of porter's keywords, or that stand in a whole command."""


def spell(command: str, text: str) -> str:
    return str(cli.parser(command).parse_args([command, *REQUIRED[command]]).spell(text))


REQUIRED = {
    "convert": ["model.t7"],
    "check": ["fixtures"],
    "train": ["--style_image", "a.png", "--descriptor", "b.npz", "-o", "run"],
    "stylize": ["model.t7", "a.png", "-o", "b.png"],
}


def strings(path: Path) -> list[str]:
    """The texts of a file, without docstrings; what is filled in is written `…`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bare = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    inner = {
        part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
    }
    texts = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            texts.append(
                "".join(
                    part.value if isinstance(part, ast.Constant) else "…"
                    for part in node.values  # type: ignore[misc]
                )
            )
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node not in bare | inner
        ):
            texts.append(node.value)
    return texts


@pytest.mark.parametrize(
    ("command", "text", "shown"),
    [
        ("convert", "choose one with `select=PATH`", "choose one with --select PATH"),
        ("convert", "give `input_shapes=3x8x8`, or `jobs=`", "give --input-shape 3x8x8, or --jobs"),
        ("convert", "`output=` or `force=True`", "-o or --force"),
        ("convert", "leave it out of `formats=`", "leave it out of --format"),
        (
            "train",
            "a smaller `batch_size=` or `image_size=`",
            "a smaller --batch_size or --image_size",
        ),
        ("stylize", "make it smaller: `image_size=`", "make it smaller: --image-size"),
        (
            "check",
            "a table {module=, input=} and `nothing=3`",
            "a table {module=, input=} and `nothing=3`",
        ),
    ],
)
def test_keywords_are_shown_as_the_options_of_the_command(
    command: str, text: str, shown: str
) -> None:
    assert spell(command, text) == shown


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_does_not_speak_the_command_line(path: Path) -> None:
    if str(path.relative_to(ROOT)) in OWN:
        return
    for text in strings(path):
        outside = re.sub(r"`porter [^`]*`|^next: porter .*", "", text)  # whole commands
        assert not OPTION.search(outside), text


def test_every_keyword_in_a_message_is_an_option_of_some_command() -> None:
    dests = {
        action.dest
        for command in cli.subcommands(cli.parser())
        for action in command._actions
        if action.option_strings
    }
    named = {
        found[1] for path in LIBRARY for text in strings(path) for found in KEYWORD.finditer(text)
    }
    assert "select" in named
    assert named <= dests


def test_help_is_no_place_for_keywords() -> None:
    for command in cli.subcommands(cli.parser()):
        assert isinstance(command, argparse.ArgumentParser)
        assert not KEYWORD.search(command.format_help())
