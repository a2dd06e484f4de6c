"""`porter inspect`: what a .t7 file is and holds, without TensorFlow."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from porter.cli.arguments import (
    Commands,
    arguments_of,
    model_options,
    require_places,
    show_json,
)
from porter.errors import UsageError

if TYPE_CHECKING:
    from porter.apps.inspect import PlainInspection


def add_to(commands: Commands) -> None:
    """Arguments of the command."""
    one = commands.add_parser("inspect", help="show what a .t7 file contains")
    one.add_argument("file", type=Path, help="the .t7 file")
    one.add_argument(
        "--html", type=Path, metavar="FILE", help="also write a page with a drawing (default: none)"
    )
    one.add_argument(
        "--svg", type=Path, metavar="FILE", help="also write the drawing alone (default: none)"
    )
    model_options(one)
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from porter.api import inspect
    from porter.apps.inspect import PlainInspection

    require_places(html=options.html, svg=options.svg)
    inspection = inspect(options.file, **arguments_of(options, inspect))
    if isinstance(inspection, PlainInspection):
        return show_plain(options, inspection)
    inspection = replace(inspection, input_note=options.spell(inspection.input_note))
    if options.html or options.svg:
        from porter.apps import network_page
        from porter.system.atomic import write_text

        if options.html:
            write_text(options.html, network_page.render_html(inspection))
        if options.svg:
            write_text(options.svg, network_page.render_svg(inspection))
    if options.json:
        show_json(inspection.json())
        return 0
    from porter.apps.inspect_terminal import show_inspection
    from porter.report.console import out

    show_inspection(out(), inspection)
    return 0


def show_plain(options: argparse.Namespace, plain: PlainInspection) -> int:
    """A file without modules: what its tables and objects hold."""
    from porter.apps.inspect_terminal import show_plain_inspection
    from porter.report.console import out

    if options.html or options.svg:
        raise UsageError(f"{options.file} holds no Torch module, of which there could be a drawing")
    if options.json:
        show_json(plain.json())
    else:
        show_plain_inspection(out(), plain)
    return 0
