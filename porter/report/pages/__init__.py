"""Reports for people: HTML, Markdown and SVG."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from porter.errors import UsageError
from porter.system.atomic import write_text
from porter.system.suggestions import did_you_mean

if TYPE_CHECKING:
    from porter.report.pages.document import Document

SUFFIXES = {"html": ".html", "markdown": ".md"}
"""Kinds of report, and the suffixes of their files."""


def kind_of(path: Path) -> str:
    """The kind of report that a file name means. Raises UsageError for another suffix."""
    for kind, suffix in SUFFIXES.items():
        if path.suffix == suffix:
            return kind
    raise UsageError(
        f"a report is a file that ends in {' or '.join(SUFFIXES.values())}", received=str(path)
    )


def require_kinds(kinds: tuple[str, ...]) -> None:
    """Raise UsageError for an unknown kind or a missing library: now, not after a long run."""
    for kind in kinds:
        if kind not in SUFFIXES:
            near = did_you_mean([kind], SUFFIXES)
            listed = f"reports: {', '.join(SUFFIXES)}"
            raise UsageError(f"there is no report '{kind}'{near}", hint=listed)
    if "html" in kinds:
        from porter.report.pages.html import environment

        environment()


def render(document: Document, kind: str) -> str:
    """A report as text."""
    if kind == "html":
        from porter.report.pages.html import render as render_html

        return render_html(document)
    from porter.report.pages.markdown import render as render_markdown

    return render_markdown(document)


def write(document: Document, path: Path) -> None:
    """Write a report to a file; its name decides the kind. Raises UsageError or EmitError."""
    write_text(path, render(document, kind_of(path)))
