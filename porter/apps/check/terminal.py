"""A line of `porter check` on the terminal."""

from __future__ import annotations

from rich.text import Text

from porter.apps.check.checker import CheckResult
from porter.parity.measure import error_shown
from porter.report.console import COLOUR


def result_line(result: CheckResult) -> Text:
    """One fixture of `porter check`."""
    line = Text(f"{result.status:8}", COLOUR[result.status])
    line.append(
        f" {result.path}  isolated {error_shown(result.isolated)}"
        f"  accumulated {error_shown(result.accumulated)}  {result.seconds:.2f}s",
        "default",
    )
    if result.message:
        line.append("\n         " + result.message.replace("\n", "\n         "), "default")
    return line
