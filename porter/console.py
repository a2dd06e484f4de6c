"""What the terminal shows: tables, trees and errors. Plain text where it is no terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from porter.check import Result
from porter.errors import PorterError, printable
from porter.inspect import Inspection
from porter.parity import Row
from porter.report import times_noise

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
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(
        *columns, console=Console(stderr=True, highlight=False), transient=True
    ) as display:
        yield display


def number(value: float | None) -> str:
    """An error as it is read best."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    return "∞" if math.isinf(value) else f"{value:.1e}"


def parity_table(rows: Iterable[Row]) -> Table:
    """One line a layer: errors in units of the layer's scale."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("path", "type", "output"):
        table.add_column(name, overflow="fold")
    for name in ("isolated", "accumulated", "float64", "×noise"):
        table.add_column(name, justify="right")
    table.add_column("oracle", overflow="fold")
    table.add_column("")
    for row in rows:
        times = times_noise(row)
        status = "pass" if row.passed else "fail"
        table.add_row(
            printable(row.path) or "(root)",
            printable(row.type),
            row.shape,
            number(row.isolated.max_rel if row.isolated else None),
            number(row.accumulated.max_rel if row.accumulated else None),
            number(row.float64),
            "–" if times is None else f"{times:.1f}",
            printable(row.oracle),
            Text(status if not row.problem else f"{status}: {row.problem}", COLOUR[status]),
        )
    return table


def result_line(result: Result) -> Text:
    """One fixture of `porter check`."""
    line = Text(f"{result.status:8}", COLOUR[result.status])
    line.append(
        f" {result.path}  isolated {number(result.isolated)}"
        f"  accumulated {number(result.accumulated)}  {result.seconds:.2f}s",
        "default",
    )
    if result.message:
        line.append("\n         " + result.message.replace("\n", "\n         "), "default")
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
