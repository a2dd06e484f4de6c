"""`porter layers`: which Torch classes are handled, and how well."""

from __future__ import annotations

import argparse
import sys

from porter.cli.arguments import Commands, show_json


def add_to(commands: Commands) -> None:
    """Arguments of the command."""
    one = commands.add_parser(
        "layers", help="list the supported Torch classes and how accurate they are"
    )
    one.add_argument(
        "name", nargs="?", metavar="CLASS", help="show one class alone (default: list all)"
    )
    one.add_argument("--markdown", action="store_true", help="as a Markdown table")
    one.add_argument("--json", action="store_true", help="as JSON")
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from porter.apps import coverage

    table = coverage.table() if options.name is None else [coverage.class_named(options.name)]
    if options.json:
        show_json(coverage.as_json(table))
    elif options.markdown:
        sys.stdout.write(coverage.as_markdown(table))
    else:
        from porter.report.console import out

        out().print(coverage.as_rich(table))
    return 0
