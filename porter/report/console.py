"""Terminal output: tables, trees and errors. Plain text where the output is not a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from porter.errors import PorterError, printable
from porter.parity.measure import error_shown
from porter.report.as_json import times_noise
from porter.report.sizes import size_shown

if TYPE_CHECKING:
    from porter.emit.formats import ExportResult
    from porter.parity.compare import Row
    from porter.report.drift import Drift

COLOUR = {
    "pass": "green",
    "fail": "red",
    "inherited": "yellow",
    "unmapped": "yellow",
    "error": "red",
}


class Plain(Console):
    """A console for pipes and files: cells are not filled up with blanks at the ends of lines."""

    def print(self, *objects: Any, **options: Any) -> None:
        with self.capture() as printed:
            super().print(*objects, **options)
        lines = printed.get().split("\n")
        self.file.write("\n".join(line.rstrip(" ") for line in lines))
        self.file.flush()


def out(width: int | None = None) -> Console:
    """Standard output; if not a terminal, wide enough that no cell is cut."""
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=False)
    if not console.is_terminal:
        console = Plain(highlight=False, markup=False, emoji=False, width=width or 160)
    return console


def show_error(error: PorterError, spell: Callable[[str], str] = str) -> None:
    """An error on standard error: what, where, received, what to do next.

    `spell` turns the keyword arguments that it names into options of the command line.
    """
    console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
    first, _, rest = spell(str(error)).partition("\n")
    console.print(Text("error: ", style="bold red") + Text(first))
    if rest:
        console.print(Text(rest))


MAX_FAILING = 8
"""Failing layers shown by default: most of the others follow from these."""

NARROW = 110
"""Below this width the parity table drops columns, and names the oracle below the table."""


def parity_table(rows: Iterable[Row], width: int = 160) -> Table:
    """One line per layer: errors in units of the layer's scale. Folds below 110 columns."""
    shown = list(rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    wide = width >= NARROW
    for name in ("path", "type", "output") if wide else ("path", "type"):
        table.add_column(name, overflow="fold")
    numbers = ("isolated", "accumulated", "float64", "×noise")
    for name in numbers if wide else ("isolated", "accum.", "×noise"):
        table.add_column(name, justify="right", no_wrap=True)
    if wide:
        table.add_column("oracle", overflow="fold")
    table.add_column("", overflow="fold")
    for row in shown:
        times = times_noise(row)
        status = status_of(row)
        outcome = Text(status if not row.problem else f"{status}: {row.problem}", COLOUR[status])
        path, kind = printable(row.path) or "(root)", printable(row.type)
        isolated = error_shown(row.isolated.max_rel if row.isolated else None)
        accumulated = error_shown(row.accumulated.max_rel if row.accumulated else None)
        noise = "–" if times is None else f"{times:.1f}"
        if wide:
            exact, oracle = error_shown(row.float64), printable(row.oracle)
            errors = (isolated, accumulated, exact, noise)
            table.add_row(path, kind, row.shape, *errors, oracle, outcome)
        else:
            table.add_row(path, kind, isolated, accumulated, noise, outcome)
    if not wide:
        oracles = ", ".join(dict.fromkeys(printable(row.oracle) for row in shown))
        table.caption = f"oracle: {oracles}; a wider terminal shows shapes and float64"
        table.caption_justify = "left"
    return table


def status_of(row: Row) -> str:
    """The verdict on a layer, in one word."""
    return "pass" if row.passed else "inherited" if row.inherited else "fail"


def show_hints(console: Console, rows: Iterable[Row], spell: Callable[[str], str] = str) -> None:
    """The likely causes of failing layers, apart from the verdict."""
    for row in rows:
        if row.hint is not None:
            where = f"{printable(row.path) or 'the root'} ({printable(row.type)})"
            console.print(Text("hint: ", "yellow") + Text(f"{where}: {spell(row.hint.text())}"))


def show_drift(console: Console, drift: Drift) -> None:
    """What changed between two reports, worst first."""
    for mark, colour, changes in (
        ("worse", COLOUR["fail"], drift.worse),
        ("better", COLOUR["pass"], drift.better),
    ):
        for change in changes:
            line = Text(f"{mark:6} ", colour).append(f"{printable(change.name)}: ", "default")
            line.append(change.what, "default")
            if change.before is not None or change.after is not None:
                line.append(
                    f" {error_shown(change.before)} → {error_shown(change.after)}", "default"
                )
            console.print(line)
    for name in drift.added:
        console.print(f"new    {printable(name)}", markup=False)
    outcome = f"{len(drift.worse)} worse" if drift.worse else "no drift"
    console.print(f"{drift.compared} compared, {outcome}, {len(drift.better)} better")


def format_table(rows: Iterable[ExportResult]) -> Table:
    """One line for each exported file or folder, with its result after it was loaded again."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("format")
    table.add_column("size", justify="right")
    table.add_column("error", justify="right")
    table.add_column("note", overflow="fold")
    for row in rows:
        error = row.measure.max_rel if row.measure else None
        table.add_row(row.label, size_shown(row.bytes), error_shown(error), row.note)
    return table


def failing_table(rows: Iterable[Row], width: int = 160) -> Table:
    """The first failing layers of the parity table, and how many layers it leaves out."""
    every = list(rows)
    failing = [row for row in every if not row.passed]
    shown = failing[:MAX_FAILING]
    table = parity_table(shown, width)
    inherited = sum(row.inherited for row in failing)
    counts = f"{len(failing)} of {len(every)} layers fail"
    if inherited:
        counts += f", {inherited} of them because of an earlier one"
    more = f", the first {len(shown)} are shown" if len(shown) < len(failing) else ""
    note = f"{counts}{more}; -v shows every layer"
    table.caption = "\n".join(filter(None, (str(table.caption or ""), note)))
    table.caption_justify = "left"
    return table
