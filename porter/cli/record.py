"""`porter record`: the Lua script that records activations."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from porter.cli.arguments import Commands


def add_to(commands: Commands) -> None:
    """Arguments of the command."""
    one = commands.add_parser(
        "record", help="print the Lua script that records activations in Torch"
    )
    one.add_argument("-o", "--output", type=Path, help="write it to a file (default: print it)")
    one.add_argument("--force", action="store_true", help="overwrite an existing file")
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from porter.system.atomic import require_file_target, write_text
    from porter.torch7.recorder import script

    if options.output:
        require_file_target(options.output, options.force)
        write_text(options.output, script())
        print(f"written: {options.output}")
    else:
        sys.stdout.write(script())
    return 0
