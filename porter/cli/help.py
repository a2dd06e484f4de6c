"""`porter help`: what a word means, or how a command is used."""

from __future__ import annotations

import argparse
import textwrap

from porter.cli import glossary
from porter.cli.arguments import Commands

WIDTH = 80


def add_to(commands: Commands) -> None:
    """Arguments of the command."""
    one = commands.add_parser("help", help="explain a word of the reports, or a command")
    one.add_argument(
        "words",
        nargs="*",
        metavar="WORD",
        help="a word, such as oracle, or a command (default: list all words)",
    )
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from porter.cli.main import COMMANDS, main

    word = " ".join(options.words)
    if word in glossary.WORDS:
        print(textwrap.fill(glossary.entry(word), WIDTH))
        return 0
    if word in COMMANDS:
        return main([word, "--help"])
    if word:
        print(textwrap.fill(glossary.entry(word), WIDTH))
        return 0
    print(textwrap.fill(", ".join(glossary.WORDS), WIDTH))
    print("\n`porter help WORD` explains one; `porter help COMMAND` shows a command's options.")
    return 0
