"""`porter view`: the page of `porter inspect --html`, opened in a browser."""

from __future__ import annotations

import argparse
import tempfile
import webbrowser
from pathlib import Path

from porter.cli.arguments import Commands, model_options, show_json
from porter.cli.inspect import inspected


def add_to(commands: Commands) -> None:
    """Arguments of the command."""
    one = commands.add_parser("view", help="show a .t7 file as a page in a browser")
    one.add_argument("file", type=Path, help="the .t7 file")
    model_options(one)
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code. The page stays: the browser reads it later."""
    from porter.apps import network_page
    from porter.apps.inspect import PlainInspection
    from porter.report.console import out
    from porter.system.atomic import write_text

    inspection = inspected(options)
    if isinstance(inspection, PlainInspection):
        raise inspection.not_drawn()
    content = network_page.render_html(inspection)
    page = Path(tempfile.mkdtemp(prefix="porter-")) / f"{options.file.stem}.html"
    write_text(page, content)
    opened = webbrowser.open(page.as_uri())
    if options.json:
        show_json({"page": str(page), "opened": opened})
    else:
        out().print(f"{page}{'' if opened else '  (there is no browser here: open it in one)'}")
    return 0
