"""`porter diff`: models, ports and recordings side by side; two JSON reports over time."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from porter.cli.arguments import (
    Commands,
    arguments_of,
    detail_options,
    model_options,
    require_report,
    show_json,
    tolerance_options,
)
from porter.errors import UsageError

if TYPE_CHECKING:
    from porter.parity.compare import Report


def add_to(commands: Commands) -> None:
    """Arguments of the command."""
    one = commands.add_parser("diff", help="compare models, ports and recordings layer by layer")
    one.add_argument("first", type=Path, help="the oracle: .t7 model, converted folder, recording")
    one.add_argument("second", type=Path, help="the side to compare with it")
    one.add_argument(
        "--report",
        type=Path,
        metavar="FILE.html|FILE.md",
        help="also write a report (default: none)",
    )
    one.add_argument(
        "--factor",
        type=float,
        default=10.0,
        metavar="K",
        help="between two JSON reports: errors more than K times larger are drift (default: 10)",
    )
    tolerance_options(one)
    model_options(one)
    detail_options(one)
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from porter.api import diff
    from porter.report.as_json import report_json
    from porter.report.console import failing_table, out, parity_table, show_hints

    if options.first.suffix == options.second.suffix == ".json":
        return run_drift(options)
    if options.report:
        require_report(options.report)
    report = diff(**arguments_of(options, diff))
    if options.report:
        from porter.report.pages import write
        from porter.report.pages.document import Document

        title = f"{options.first.name} and {options.second.name}"
        write(Document(title, (report,)), options.report)
    if options.json:
        show_json(report_json([report]))
    else:
        console = out()
        if options.verbose:
            console.print(parity_table(report.rows, console.width))
        elif not report.passed and not options.quiet:
            console.print(failing_table(report.rows, console.width))
        if not options.quiet:
            show_hints(console, report.rows, options.spell)
        if not (report.passed or options.quiet) or options.verbose:
            console.print()
        console.print(outcome(report), soft_wrap=True)
    return 0 if report.passed else 1


def outcome(report: Report) -> str:
    """Whether both sides are the same; the layer that is closest to its tolerance, or beyond it."""
    from porter.errors import printable
    from porter.report.as_json import worst_layer

    row = report.first_diverging
    if row is not None:
        where = f"{printable(row.path) or 'the root'} ({printable(row.type)})"
        return f"first diverging: {where}: {row.summary()}"
    return f"the same, by {report.oracle}: {len(report.rows)} layers; {worst_layer(report.rows)}"


def run_drift(options: argparse.Namespace) -> int:
    from porter.report import drift
    from porter.report.console import out, show_drift

    if not options.factor > 1:
        raise UsageError("a factor of drift is larger than 1", received=str(options.factor))
    changes = drift.compare(drift.read(options.first), drift.read(options.second), options.factor)
    if options.json:
        show_json(changes.json())
    else:
        show_drift(out(), changes)
    return 1 if changes.worse else 0
