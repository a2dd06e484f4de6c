"""Reports as one self-contained HTML file: no network, no other files, readable in print.

Everything that comes from a model file passes Jinja's autoescape and `printable`.
"""

from __future__ import annotations

import math
from typing import Any

from porter.errors import printable
from porter.parity.measure import error_shown
from porter.parity.thumbnails import PHOTOGRAPH
from porter.report.as_json import times_noise
from porter.report.pages.chart import chart
from porter.report.pages.diagram import draw, levels
from porter.report.pages.document import Document
from porter.report.pages.images import strip_pictures, thumbnail_pictures
from porter.system.extras import optional

MAX_STRIPS = 3
"""The number of inputs of an image net that are shown as images."""


def environment() -> Any:
    """Jinja with autoescape on. Raises UsageError where it is not installed."""
    without = "; a report in Markdown (FILE.md) needs nothing"
    jinja2 = optional("jinja2", "jinja2", "an HTML report", without)
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("porter.report.pages"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    templates.filters["number"] = error_shown
    templates.filters["safe_text"] = safe_text
    templates.globals["infinity"] = math.inf
    return templates


def render(document: Document) -> str:
    """The page of one comparison."""
    rows = document.rows
    graph = next((report.graph for report in document.reports if report.graph), None)
    strips = [(each.input, each.strip) for each in document.reports if each.strip is not None]
    if any(name.startswith(PHOTOGRAPH) for name, _ in strips):
        strips = [each for each in strips if each[0].startswith((PHOTOGRAPH, "recorded "))]
    looks = levels({(row.path, row.count): row for row in rows})
    page: str = (
        environment()
        .get_template("report.html")
        .render(
            document=document,
            rows=rows,
            chart=chart(rows, document.tolerance),
            strips=[(name, strip_pictures(strip)) for name, strip in strips[:MAX_STRIPS]],
            worst=[
                (row, row.thumbnail.place, thumbnail_pictures(row.thumbnail))
                for row in document.worst()
                if row.thumbnail is not None
            ],
            diagram=None if graph is None else draw(graph, looks),
            times_noise=times_noise,
        )
    )
    return page


def safe_text(text: str) -> str:
    """Text from a model file without control and bidirectional characters."""
    return printable(str(text), limit=2_000)
