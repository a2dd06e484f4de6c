"""Reports as Markdown, for the comments of a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from porter.errors import printable
from porter.parity.compare import Row, measured
from porter.report.as_json import times_noise
from porter.report.pages.document import Document

SHOWN = 10
"""Layers in the open table: those that fail, or else the worst; the others are folded away."""
PATH = re.compile(r"[\w./() -]+", re.ASCII)
MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~@&$])")


def render(document: Document) -> str:
    """The report of one comparison."""
    rows = document.rows
    failing = [row for row in rows if not row.passed]
    worst = sorted(rows, key=lambda row: -(measured(row.isolated) or 0.0))
    parts = [
        f"### {'✅' if document.passed else '❌'} {plain(document.title)}: "
        f"{'pass' if document.passed else 'fail'}",
        plain(document.verdict()),
        *(
            f"> **hint** {code(row.path or 'the root')}: {plain(row.hint.text())} "
            "(measured, but no part of the verdict)"
            for row in rows
            if row.hint is not None
        ),
        layer_table((failing or worst)[:SHOWN]),
        folded(f"all {len(rows)} layers", layer_table(rows)),
    ]
    if document.emitted:
        formats = (
            (
                each.name,
                f"{each.bytes:,}",
                number(each.measure.max_rel if each.measure else None),
                plain(each.note),
            )
            for each in document.emitted
        )
        parts.append(table(("format", "bytes", "error after reload", "note"), "lrrl", formats))
    if document.facts:
        facts = table(("", ""), "ll", ((plain(name), plain(what)) for name, what in document.facts))
        parts.append(folded("provenance", facts))
    return "\n\n".join(parts) + "\n"


def outcome(row: Row) -> str:
    """The verdict on a layer; what went wrong where it fails by itself."""
    if row.passed:
        return "pass"
    return "inherited" if row.inherited else f"**fail**: {plain(row.summary())}"


def layer_table(rows: Sequence[Row]) -> str:
    """Errors in units of each layer's scale."""
    heads = ("path", "class", "output", "isolated", "accumulated", "×noise", "oracle", "status")
    return table(
        heads,
        "lllrrrll",
        (
            (
                code(row.path or "(root)"),
                plain(row.type),
                row.shape,
                number(measured(row.isolated)),
                number(measured(row.accumulated)),
                "–" if times_noise(row) is None else f"{times_noise(row):.1f}",
                plain(row.oracle),
                outcome(row),
            )
            for row in rows
        ),
    )


def table(heads: Sequence[str], align: str, rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; `align` has l or r for each column."""
    marks = ["---:" if each == "r" else "---" for each in align]
    lines = [heads, marks, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def folded(summary: str, body: str) -> str:
    """A part that GitHub shows when it is clicked."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def plain(text: str) -> str:
    """Text of a model file that means nothing in Markdown or HTML, on one line."""
    return MARKUP.sub(r"\\\1", printable(str(text), limit=300)).replace("\n", " ")


def code(text: str) -> str:
    """A path; one with unusual characters is shown as text."""
    return f"`{text}`" if PATH.fullmatch(text) else plain(text)


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1e}"
