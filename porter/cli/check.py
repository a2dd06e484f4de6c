"""`porter check`: regression over folders of fixtures."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from porter.cli.arguments import (
    Commands,
    arguments_of,
    map_options,
    require_places,
    require_report,
    show_json,
    tolerance_options,
)

if TYPE_CHECKING:
    from porter.apps.check.checker import CheckResult


def add_to(commands: Commands) -> None:
    """Arguments of the command."""
    one = commands.add_parser("check", help="regression over folders of fixtures")
    one.add_argument(
        "paths", type=Path, nargs="+", metavar="PATH", help="folders of fixtures, or files"
    )
    one.add_argument("--junit", type=Path, help="also write a JUnit XML file (default: none)")
    one.add_argument(
        "--report",
        type=Path,
        metavar="FILE.html|FILE.md",
        help="also write a report (default: none)",
    )
    one.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="number of processes (default: 1)"
    )
    one.add_argument(
        "--memory",
        type=float,
        metavar="GB",
        help="memory limit of all processes together in GiB (default: what is free); a model that "
        "needs "
        "more is an error",
    )
    one.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="folder of cached results: what has not changed is not checked again (default: none)",
    )
    one.add_argument(
        "--update",
        action="store_true",
        help="record the errors in porter.expected.json; from then on, errors ten times as large "
        "fail",
    )
    tolerance_options(one)
    map_options(one)
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from porter.api import check
    from porter.apps.check import checker, parallel_runner
    from porter.apps.check.terminal import result_line
    from porter.report.console import out
    from porter.report.progress import progress

    if options.report:
        require_report(options.report)
    require_places(junit=options.junit)
    console = out()
    with progress(options.json) as display:
        task = display.add_task("check")

        def on_result(result: CheckResult) -> None:
            display.update(task, advance=1, description=result.path)
            if not options.json:
                console.print(result_line(spelled(result, options)))

        results = check(
            **arguments_of(options, check),
            on_start=lambda count: display.update(task, total=count),
            on_result=on_result,
        )
    results = [spelled(result, options) for result in results]
    counts = checker.summary(results)
    if options.json:
        show_json({"results": [result.json() for result in results], "summary": counts})
    else:
        if len(results) > console.height:
            # What failed has scrolled away.
            for result in parallel_runner.by_severity(results):
                console.print(result_line(result))
        console.print(", ".join(f"{count} {status}" for status, count in counts.items()))
    if options.junit:
        from porter.apps.check.junit import write_junit

        write_junit(results, options.junit)
    if options.report:
        from porter.apps.check import page

        page.write(results, options.report)
    if options.update:
        for path in parallel_runner.accept(results, options.paths[0]):
            print(f"recorded: {path}", file=sys.stderr)
    return checker.exit_code(results)


def spelled(result: CheckResult, options: argparse.Namespace) -> CheckResult:
    """A result whose message speaks of the options of the command line."""
    return replace(result, message=options.spell(result.message))
