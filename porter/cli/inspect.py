"""`porter inspect`: what a .t7 file is and holds, without TensorFlow."""

from __future__ import annotations

import argparse
import shlex
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
from porter.system.light import light

if TYPE_CHECKING:
    from porter.apps.inspect import Inspection, PlainInspection


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
    with light():
        from porter.apps.inspect import PlainInspection

        require_places(html=options.html, svg=options.svg)
        inspection = inspected(options)
        if options.html or options.svg:
            if isinstance(inspection, PlainInspection):
                raise inspection.not_drawn()
            write_drawings(options, inspection)
        if options.json:
            show_json(inspection.json())
        else:
            show(inspection)
    return 0


def show(inspection: Inspection | PlainInspection) -> None:
    """Print it; JSON does without what this imports."""
    from porter.apps.inspect import PlainInspection
    from porter.apps.inspect_terminal import show_inspection, show_plain_inspection
    from porter.report.console import out

    if isinstance(inspection, PlainInspection):
        show_plain_inspection(out(), inspection)
    else:
        show_inspection(out(), inspection)


def inspected(options: argparse.Namespace) -> Inspection | PlainInspection:
    """What `porter.inspect` tells, with the options of the command line in its texts."""
    from porter.api import inspect
    from porter.apps.inspect import PlainInspection

    inspection = inspect(options.file, **arguments_of(options, inspect))
    if isinstance(inspection, PlainInspection):
        lines = [options.spell(inspection.advice)]
        if inspection.modules:
            words = [inspection.name, "--select", next(iter(inspection.modules))]
            lines.append(f"for example: {shlex.join(['porter', 'inspect', *words])}")
        return replace(inspection, advice="\n".join(filter(None, lines)))
    return replace(inspection, input_note=options.spell(inspection.input_note))


def write_drawings(options: argparse.Namespace, inspection: Inspection) -> None:
    """The page and the drawing that are asked for."""
    from porter.apps import network_page
    from porter.system.atomic import write_text

    if options.html:
        write_text(options.html, network_page.render_html(inspection))
    if options.svg:
        write_text(options.svg, network_page.render_svg(inspection))
