"""`porter scaffold`: the stub of a layer map."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from porter.cli.arguments import Commands


def add_to(commands: Commands) -> None:
    """Arguments of the command."""
    one = commands.add_parser("scaffold", help="write the stub of a layer map for a class")
    one.add_argument("typename", metavar="CLASS", help="for example nn.MyLayer")
    one.add_argument(
        "--from", dest="file", type=Path, required=True, help="a model that contains the class"
    )
    one.add_argument("-o", "--output", type=Path, help="write it to a file (default: print it)")
    one.add_argument("--force", action="store_true", help="overwrite an existing file")
    one.add_argument(
        "--select", metavar="PATH", help="the module to take from a file (default: the only one)"
    )
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from porter import torch7
    from porter.apps.scaffold import stub
    from porter.frontend.model_file import choose
    from porter.frontend.selection import find_object
    from porter.layer_maps import default_registry
    from porter.system.atomic import require_file_target, write_text

    if options.output:
        require_file_target(options.output, options.force)
    file = torch7.read(options.file)
    # An object around the modules is no module of the file, and may be the class to write for.
    root = find_object(file.root, options.typename) if options.select is None else None
    if root is None:
        root = choose(file, str(options.file), default_registry(), options.select).root
    text = stub(options.typename, root)
    if options.output:
        write_text(options.output, text)
        print(f"written: {options.output}")
    else:
        sys.stdout.write(text)
    return 0
