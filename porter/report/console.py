"""What the terminal shows: tables, trees and errors. Plain text where it is no terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from porter.errors import PorterError, printable
from porter.parity.measure import error_shown
from porter.report.as_json import times_noise

if TYPE_CHECKING:
    from rich.progress import Progress

    from porter.apps.check.checker import Result
    from porter.apps.inspect import Inspection
    from porter.apps.stylize.stylize import Result as Stylized
    from porter.emit.formats import ExportResult
    from porter.parity.compare import Row
    from porter.report.drift import Drift

COLOUR = {"pass": "green", "fail": "red", "unmapped": "yellow", "error": "red"}


def out(width: int | None = None) -> Console:
    """Standard output; without a terminal wide enough that no cell is cut."""
    console = Console(highlight=False, markup=False, soft_wrap=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=width or 160)
    return console


def show_error(error: PorterError) -> None:
    """An error on standard error: what, where, received, what to do next."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    first, _, rest = str(error).partition("\n")
    console.print(Text("error: ", style="bold red") + Text(first))
    if rest:
        console.print(Text(rest))


@contextmanager
def progress() -> Iterator[Progress]:
    """A spinner with stage and layer on standard error, gone at the end."""
    # Commands that end in a moment show none, and do not wait for its import.
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    console = Console(stderr=True, highlight=False)
    shown = console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not shown) as display:
        yield display


NARROW = 110
"""Below this many columns the parity table leaves out what can be said in one line."""


def parity_table(rows: Iterable[Row], width: int = 160) -> Table:
    """One line a layer: errors in units of the layer's scale. Folds below 110 columns."""
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
        status = "pass" if row.passed else "fail"
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


def show_hints(console: Console, rows: Iterable[Row]) -> None:
    """What may be the cause of failing layers, apart from the verdict."""
    for row in rows:
        if row.hint is not None:
            where = f"{printable(row.path) or 'the root'} ({printable(row.type)})"
            console.print(Text("hint: ", "yellow") + Text(f"{where}: {row.hint.text()}"))


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
    """One line for each file or folder: how it did after it was loaded again."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("format")
    table.add_column("size", justify="right")
    table.add_column("error", justify="right")
    table.add_column("note", overflow="fold")
    for row in rows:
        error = row.measure.max_rel if row.measure else None
        table.add_row(row.label, size_shown(row.bytes), error_shown(error), row.note)
    return table


def size_shown(count: int) -> str:
    """Bytes as people say them."""
    if count < 1_000_000:
        return f"{count / 1e3:,.1f} kB"
    return f"{count / 1e6:,.1f} MB"


def result_line(result: Result) -> Text:
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


def stylized_line(result: Stylized) -> Text:
    """One picture of `porter stylize`."""
    sizes = [f"{size[1]}×{size[0]}" for size in (result.size, result.made) if size]
    line = Text(f"{result.source} → {result.target}  {' → '.join(dict.fromkeys(sizes))}")
    for note in result.notes:
        line.append(f"\n    {note}")
    return line


def show_inspection(console: Console, seen: Inspection) -> None:
    """What the file is, then the module tree."""
    facts = [
        ("file", f"{seen.name} ({seen.size:,} bytes)"),
        ("format", f"Torch7 {seen.format}" + trailing(seen.trailing)),
    ]
    if seen.wrapper:
        facts.append(("table", "; ".join(f"{key}: {what}" for key, what in seen.wrapper.items())))
        facts.append(("taken", seen.selected))
    facts += [
        ("parameters", f"{seen.parameters:,}"),
        ("tensors", ", ".join(f"{name} ×{count}" for name, count in seen.tensor_types.items())),
        ("saved in", ", ".join(f"{mode} ×{count}" for mode, count in seen.modes.items())),
        ("input", f"{seen.input_shape} ({seen.input_note})" if seen.input_shape else "unknown"),
        ("classes", ", ".join(f"{name} ×{count}" for name, count in seen.classes.items())),
    ]
    if not seen.input_shape:
        facts.append(("why", seen.input_note.replace("\n", "; ")))
    if seen.functions:
        facts.append(("functions", f"{', '.join(seen.functions)} (never executed)"))
    grid = Table(box=None, show_header=False, pad_edge=False)
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, what in facts:
        grid.add_row(name, Text(printable(what, 4_000)))
    console.print(grid)
    console.print()
    console.print(module_table(seen))
    for name, paths in seen.unmapped.items():
        console.print(
            Text(
                printable(
                    f"unmapped: {name} at {', '.join(p or 'the root' for p in paths)}", 4_000
                ),
                "yellow",
            )
        )
    for path, note in seen.notes.items():
        console.print(Text(f"note: {path or 'the root'}: {note}"))


def trailing(count: int) -> str:
    return f", then {count:,} bytes that Torch ignores" if count else ""


def module_table(seen: Inspection) -> Table:
    """The module tree with shapes and parameters."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("path", "module", "output"):
        table.add_column(name, overflow="fold")
    table.add_column("parameters", justify="right")
    for line in seen.lines:
        name = "  " * line.depth + printable(line.typename)
        if line.shared_with is not None:
            name += f" (the one at {line.shared_with or 'the root'})"
        table.add_row(
            line.path or "(root)",
            Text(name, "default" if line.mapped else "yellow"),
            line.shape,
            f"{line.parameters:,}" if line.parameters else "",
        )
    return table
