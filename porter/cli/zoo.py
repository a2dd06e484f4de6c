"""`porter zoo`: the published systems that porter knows by name, and what each is fed."""

from __future__ import annotations

import argparse

from porter.cli.arguments import Commands, show_json


def add_to(commands: Commands) -> None:
    """Arguments of the command."""
    one = commands.add_parser("zoo", help="list published systems and what they must be fed")
    one.add_argument(
        "name", nargs="?", metavar="NAME", help="show one system in full (default: list all)"
    )
    one.add_argument("--json", action="store_true", help="as JSON")
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from porter.apps.zoo import listing
    from porter.apps.zoo.systems import systems

    chosen = None if options.name is None else listing.system_named(options.name)
    if options.json:
        rows = systems() if chosen is None else (chosen,)
        show_json({"systems": [row.json() for row in rows]})
        return 0
    from porter.report.console import out

    out().print(listing.as_rich(systems()) if chosen is None else listing.in_full(chosen))
    return 0
