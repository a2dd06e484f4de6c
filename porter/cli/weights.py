"""`porter weights`: every tensor by Torch path, also of classes that nobody handles."""

from __future__ import annotations

import argparse
from pathlib import Path

from porter.cli.arguments import Commands, map_options, registry_of, show_json
from porter.errors import UsageError


def add_to(commands: Commands) -> None:
    """Arguments of the command."""
    one = commands.add_parser(
        "weights", help="export every tensor by Torch path, also of unknown classes"
    )
    one.add_argument("file", type=Path, help="the .t7 file")
    one.add_argument(
        "-o", "--output", type=Path, required=True, help="a file .npz, .safetensors or .h5"
    )
    one.add_argument(
        "--order",
        choices=["torch", "tensorflow"],
        default="torch",
        help="order of axes (default: torch)",
    )
    one.add_argument("--force", action="store_true", help="overwrite an existing file")
    one.add_argument(
        "--select", metavar="PATH", help="the module to take from a file (default: the only one)"
    )
    map_options(one)
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from porter import torch7
    from porter.emit.arrays import save
    from porter.frontend.model_file import choose, holds_model
    from porter.frontend.weights import collect, collect_as_tensorflow, collect_plain
    from porter.report.console import out
    from porter.report.sizes import size_shown
    from porter.system.atomic import require_file_target
    from porter.torch7 import describe

    registry = registry_of(options)
    require_file_target(options.output, options.force)
    file = torch7.read(options.file)
    if options.select is None and not holds_model(file, registry):
        weights = collect_plain(file.root)
        if not weights.arrays:
            raise UsageError(f"{options.file} holds no tensor", received=describe(file.root))
    elif options.order == "torch":
        weights = collect(choose(file, str(options.file), registry, options.select).root, registry)
    else:
        opened = choose(file, str(options.file), registry, options.select)
        weights = collect_as_tensorflow(opened.root, opened.registry)
    save(weights, options.output, options.force)
    if options.json:
        show_json(weights.json())
        return 0
    count = len(weights.arrays)
    out().print(
        f"{count} array{'s' if count != 1 else ''} in {weights.order}'s order, "
        f"{len(weights.aliases)} aliases; "
        f"{size_shown(options.output.stat().st_size)}, read back bit by bit: {options.output}"
    )
    return 0
