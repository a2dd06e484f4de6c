"""`porter completion`: a script that has a shell complete commands, options and files."""

from __future__ import annotations

import argparse
import sys

from porter.cli.arguments import Commands
from porter.system.extras import optional

SHELLS = ("bash", "zsh", "tcsh")


def add_to(commands: Commands) -> None:
    """Arguments of the command."""
    one = commands.add_parser("completion", help="print a script for a shell's completion")
    one.add_argument("shell", choices=SHELLS, help="the shell that is to read the script")
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from porter.cli import main as cli

    shtab = optional("shtab", "shtab", "completion")
    sys.stdout.write(shtab.complete(cli.parser(), options.shell))
    return 0
