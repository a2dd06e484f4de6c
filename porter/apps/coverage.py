"""Which Torch classes are handled: the coverage table, generated from the registry and the cases.

`measured.json` holds, for every class, how many recorded cases there are and the worst isolated
error of them; `make coverage` writes it anew. The registry tells how the class is handled.
"""

from __future__ import annotations

import difflib
import inspect
import json
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

from rich.table import Table

from porter.errors import UsageError
from porter.ir.registry import Handler, is_layer_map
from porter.layer_maps import default_registry

PACKAGES = {
    "nn": "torch/nn",
    "cudnn": "cudnn.torch",
    "cunn": "cunn",
    "fbcunn": "fbcunn",
    "inn": "inn",
    "w2nn": "waifu2x",
}


@dataclass(frozen=True)
class Coverage:
    """One Torch class."""

    typename: str
    package: str
    status: str
    cases: int
    worst: float | None
    notes: str


def table() -> list[Coverage]:
    """Every registered class, by name."""
    registry = default_registry()
    measured = measurements()
    rows = []
    for typename, handler in sorted(registry.handlers.items()):
        cases = measured.get(typename, {})
        rows.append(
            Coverage(
                typename,
                package_of(typename, cases),
                "layer" if is_layer_map(handler) else "structure",
                int(cases.get("cases", 0)),
                cases.get("worst"),
                registry.notes.get(typename) or first_line(handler),
            )
        )
    return rows


def class_named(name: str) -> Coverage:
    """The row of a class, with or without its package. Raises UsageError with similar names."""
    rows = table()
    key = name.lower()
    exact = [row for row in rows if row.typename == name]
    named = [row for row in rows if key in (row.typename.lower(), short_name(row).lower())]
    named.sort(key=lambda row: not row.typename.startswith("nn."))
    if exact or named:
        return (exact or named)[0]
    by_key = {
        word.lower(): row.typename for row in rows for word in (row.typename, short_name(row))
    }
    near = dict.fromkeys(by_key[each] for each in difflib.get_close_matches(key, by_key, n=6))
    raise UsageError(
        f"porter knows no class '{name}'",
        hint=f"similar names: {', '.join(near)}"
        if near
        else "`porter layers` lists all; `porter scaffold` writes the stub of a map for yours",
    )


def short_name(row: Coverage) -> str:
    """A class without its package: ReLU."""
    return row.typename.rpartition(".")[2]


def measurements() -> dict[str, dict[str, Any]]:
    """Cases and worst errors by class, as last measured."""
    file = resources.files("porter.layer_maps").joinpath("measured.json")
    measured: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return measured


def package_of(typename: str, cases: dict[str, Any]) -> str:
    """The Torch package a class comes from."""
    return str(cases.get("package") or PACKAGES.get(typename.partition(".")[0], "other"))


def first_line(handler: Handler) -> str:
    """What a handler's documentation says first."""
    return (inspect.getdoc(handler) or "").partition("\n")[0]


def as_json(rows: list[Coverage]) -> dict[str, Any]:
    """The table as JSON."""
    return {"layers": [asdict(row) for row in rows], "classes": len(rows)}


def as_markdown(rows: list[Coverage]) -> str:
    """The table as Markdown."""
    lines = [
        "| class | package | handled as | cases | worst isolated error | notes |",
        "|---|---|---|---:|---:|---|",
    ]
    for row in rows:
        worst = "" if row.worst is None else f"{row.worst:.1e}"
        notes = row.notes.replace("|", "\\|")
        lines.append(
            f"| {row.typename} | {row.package} | {row.status} | {row.cases} | {worst} | {notes} |"
        )
    return "\n".join(lines) + "\n"


def as_rich(rows: list[Coverage]) -> Table:
    """The table for a terminal."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("class", "package", "handled as"):
        shown.add_column(name, overflow="fold")
    shown.add_column("cases", justify="right")
    shown.add_column("worst error", justify="right")
    shown.add_column("notes", overflow="fold")
    for row in rows:
        worst = "" if row.worst is None else f"{row.worst:.1e}"
        shown.add_row(row.typename, row.package, row.status, str(row.cases), worst, row.notes)
    return shown
