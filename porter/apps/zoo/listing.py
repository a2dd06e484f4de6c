"""The published systems as a table, one in full, and as a page."""

from __future__ import annotations

import difflib

from rich.table import Table
from rich.text import Text

from porter.apps.zoo.systems import System, shapes, systems
from porter.errors import UsageError

GITHUB = "https://github.com/"


def system_named(name: str) -> System:
    """The system of a name or title. Raises UsageError with similar names."""
    key = name.lower()
    by_key = {word: row for row in systems() for word in (row.name, row.title.lower())}
    if key in by_key:
        return by_key[key]
    similar = [*difflib.get_close_matches(key, by_key), *(word for word in by_key if key in word)]
    names = list(dict.fromkeys(by_key[word].name for word in similar))
    raise UsageError(
        f"there is no system '{name}'",
        hint=f"similar names: {', '.join(names[:6])}"
        if names
        else "`porter zoo` lists all of them",
    )


def as_rich(rows: tuple[System, ...]) -> Table:
    """A line a system, for a terminal."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "system", "year", "input", "family"):
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(row.name, row.title, str(row.paper.year), shapes(row.input), row.family)
    return shown


def facts(system: System) -> list[tuple[str, str]]:
    """What there is to know of a system, each with its caption."""
    return [
        ("system", system.title),
        ("family", system.family),
        ("paper", str(system.paper)),
        ("files from", GITHUB + system.source),
        ("classes", ", ".join(system.classes)),
        ("feed", f"{shapes(system.input)}, {system.feed}"),
        ("gives", f"{shapes(system.output)}, {system.gives}"),
        *([("pictures", pictures(system))] if system.preset else []),
        ("convert", system.command()),
        *(("note", pitfall) for pitfall in system.pitfalls),
    ]


def pictures(system: System) -> str:
    """How pictures are run through a system's net."""
    return f"`--preset {system.preset}`, where porter does not find it by itself"


def in_full(system: System) -> Table:
    """Everything about one system, for a terminal."""
    grid = Table(box=None, show_header=False, pad_edge=False)
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for caption, what in facts(system):
        grid.add_row(caption, Text(what))
    return grid
