"""What `porter inspect` shows on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from porter.apps.inspect import Inspection, PlainInspection
from porter.errors import printable

MAX_LINES = 200
"""Entries of a file without modules that are shown; a dataset may have millions."""


def show_inspection(console: Console, inspection: Inspection) -> None:
    """What the file is, then the module tree."""
    facts = [
        ("file", f"{inspection.name} ({inspection.size:,} bytes)"),
        ("format", f"Torch7 {inspection.format}" + trailing(inspection.trailing)),
    ]
    if inspection.wrapper:
        facts.append(
            ("table", "; ".join(f"{key}: {what}" for key, what in inspection.wrapper.items()))
        )
        facts.append(("taken", inspection.selected))
    facts += [
        ("parameters", f"{inspection.parameters:,}"),
        (
            "tensors",
            ", ".join(f"{name} ×{count}" for name, count in inspection.tensor_types.items()),
        ),
        ("saved in", ", ".join(f"{mode} ×{count}" for mode, count in inspection.modes.items())),
        (
            "input",
            f"{inspection.input_shape} ({inspection.input_note})"
            if inspection.input_shape
            else "unknown",
        ),
        ("classes", ", ".join(f"{name} ×{count}" for name, count in inspection.classes.items())),
    ]
    if not inspection.input_shape:
        facts.append(("why", inspection.input_note.replace("\n", "; ")))
    for system, command in zip(inspection.systems, inspection.commands.values(), strict=True):
        facts += [("looks like", f"{system.title}: {system.advice}"), ("convert", command)]
    if inspection.functions:
        facts.append(("functions", f"{', '.join(inspection.functions)} (never executed)"))
    grid = Table(box=None, show_header=False, pad_edge=False)
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, what in facts:
        grid.add_row(name, Text(printable(what, 4_000)))
    console.print(grid)
    console.print()
    console.print(module_table(inspection))
    for name, paths in inspection.unmapped.items():
        console.print(
            Text(
                printable(
                    f"unmapped: {name} at {', '.join(p or 'the root' for p in paths)}", 4_000
                ),
                "yellow",
            )
        )
    for path, note in inspection.notes.items():
        console.print(Text(f"note: {path or 'the root'}: {note}"))


def show_plain_inspection(console: Console, plain: PlainInspection) -> None:
    """What a file is that holds no module, or several, and what it holds."""
    console.print(f"file    {printable(plain.name, 4_000)} ({plain.size:,} bytes)", soft_wrap=True)
    console.print(f"format  Torch7 {plain.format}{trailing(plain.trailing)}")
    console.print(f"holds   {plain.root}{'' if plain.modules else ', no Torch module'}")
    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in range(2):
        table.add_column(overflow="fold")
    for path, what in list((plain.modules or plain.contents).items())[:MAX_LINES]:
        table.add_row(Text(printable(path, 200)), Text(printable(what)))
    console.print(table)
    if len(plain.contents) > MAX_LINES:
        console.print(f"and {len(plain.contents) - MAX_LINES:,} more; the JSON output lists all")
    if plain.advice:
        console.print(Text(printable_lines(plain.advice)), soft_wrap=True)


def printable_lines(text: str) -> str:
    """Several lines, each made safe to show."""
    return "\n".join(printable(line, 4_000) for line in text.split("\n"))


def trailing(count: int) -> str:
    return f", then {count:,} bytes that Torch ignores" if count else ""


def module_table(inspection: Inspection) -> Table:
    """The module tree with shapes and parameters."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("path", "module", "output"):
        table.add_column(name, overflow="fold")
    table.add_column("parameters", justify="right")
    for line in inspection.lines:
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
