"""The published systems as a table, one in full, and as a page."""

from __future__ import annotations

import difflib
import re

from rich.table import Table
from rich.text import Text

from porter.apps.zoo.systems import System, shapes, systems
from porter.errors import UsageError

GITHUB = "https://github.com/"


def system_named(name: str) -> System:
    """The system of a name or title, however it is punctuated: resnet50, VGG 16.

    Raises UsageError with the systems that bear the name in part, or a similar one.
    """
    key = squeezed(name)
    words = {row.name: (squeezed(row.name), *titles(row)) for row in systems()}
    by_name = {row.name: row for row in systems()}
    exact = [each for each, keys in words.items() if key in keys]
    if len(exact) == 1:
        return by_name[exact[0]]
    within = [each for each, keys in words.items() if any(key in word for word in keys)]
    if key and len(within) == 1:
        return by_name[within[0]]
    spelled = {word: each for each, keys in words.items() for word in keys}
    spelled |= {squeezed(row.title.partition(" ")[0]): row.name for row in systems()}
    close = [spelled[word] for word in difflib.get_close_matches(key, spelled, n=6)]
    # resnet1001 is a ResNet, though none of those that are listed.
    family = [each for each, keys in words.items() if any(stem(key) in word for word in keys)]
    similar = dict.fromkeys([*exact, *within, *close, *(family if len(stem(key)) > 2 else ())])
    shown = [f"{each} ({by_name[each].title})" for each in similar][:SIMILAR]
    raise UsageError(
        f"there is no system '{name}'" if not within else f"several systems are called '{name}'",
        hint="similar names:\n" + "\n".join(f"  {line}" for line in shown)
        if shown
        else "`porter zoo` lists all of them",
    )


SIMILAR = 8
"""Names that a message lists."""


def squeezed(text: str) -> str:
    """A name as it is compared: lower case, letters and digits."""
    return "".join(each for each in text.lower() if each.isalnum())


def titles(row: System) -> tuple[str, ...]:
    """What a title names: ResNet-50, ResNet-101 and ResNet-152 are three."""
    names = re.split(r", | and ", row.title.partition(" (")[0])
    return (squeezed(row.title), *map(squeezed, names))


def stem(key: str) -> str:
    """A name without the number behind it, which is mostly a depth."""
    return key.rstrip("0123456789")


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
