"""A comparison as event files for TensorBoard: two runs, `oracle` and `port`.

    histograms    layers/PATH CLASS   every layer's output on both sides; steps are inputs
    images        pictures/…          input, oracle, port and difference of image nets
    scalars       errors/…            of the port, in units of each layer's scale; steps are layers
    text          layers              the layer of each step
    graphs                            the port, operations named by Torch path

Every layer is written as soon as it was compared, so that memory stays bounded. Failed comparisons
are written as well: they are the ones to look at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from porter.errors import ParityError, printable
from porter.ir.fields import Array
from porter.ir.graph import Node
from porter.parity.compare import Report, Row, Watch, measured
from porter.parity.thumbnails import Strip
from porter.report.as_json import worst_rows
from porter.report.pages.images import extent, scaled
from porter.report.pages.markdown import code, number, plain, table
from porter.system.atomic import EVENTS, atomic_directory
from porter.system.extras import require
from porter.system.tensorflow import tf


class Logbook:
    """Writes event files below a folder."""

    def __init__(self, folder: Path) -> None:
        oracle, port = (
            tf.summary.create_file_writer(str(folder / run), filename_suffix=EVENTS)
            for run in ("oracle", "port")
        )
        self.oracle, self.port = oracle, port
        self.reports: list[Report] = []

    def watch(self) -> Watch:
        """The callback for every layer while the next input is compared."""
        step = len(self.reports)

        def see(node: Node, expected: Sequence[Array], computed: Sequence[Array]) -> None:
            for i, arrays in enumerate(zip(expected, computed, strict=True), start=1):
                tag = tag_of(node, f" output {i}" if len(expected) > 1 else "")
                for writer, array in zip((self.oracle, self.port), arrays, strict=True):
                    with writer.as_default(step):
                        tf.summary.histogram(tag, finite(array))

        return see

    def add(self, report: Report) -> None:
        """Record the comparison of one input."""
        if report.strip is not None:
            self.pictures(report.strip, len(self.reports))
        self.reports.append(report)

    def pictures(self, strip: Strip, step: int) -> None:
        """Both activations on one scale; the difference from black (none) to white (largest)."""
        low, high = extent(np.stack([strip.expected, strip.computed]))
        for writer, name, array, span in (
            (self.oracle, "input", strip.fed, extent(strip.fed)),
            (self.oracle, "output", strip.expected, (low, high)),
            (self.port, "output", strip.computed, (low, high)),
            (self.port, "difference", strip.difference[..., None], extent(strip.difference)),
        ):
            with writer.as_default(step):
                tf.summary.image(f"pictures/{name}", scaled(array, *span)[None])

    def graph(self, serve: Any) -> None:
        """The traced port."""
        with self.port.as_default(0):
            tf.summary.graph(serve.graph)

    def close(self) -> None:
        """Write the errors of all inputs, and the files to the disk."""
        rows = worst_rows(self.reports)
        with self.port.as_default(0):
            tf.summary.text("layers", legend(rows))
        for step, row in enumerate(rows, start=1):
            with self.port.as_default(step):
                for name, error in zip(("isolated", "accumulated"), errors_of(row), strict=True):
                    if error is not None:
                        tf.summary.scalar(f"errors/{name}", error)
        self.oracle.close()
        self.port.close()


def legend(rows: Sequence[Row]) -> str:
    """The layer of each step of the error curves, in Markdown."""
    lines = (
        (str(step), code(row.path or "(root)"), plain(row.type), *map(number, errors_of(row)))
        for step, row in enumerate(rows, start=1)
    )
    return table(("step", "path", "class", "isolated", "accumulated"), "rllrr", lines)


def errors_of(row: Row) -> tuple[float | None, float | None]:
    """Isolated and accumulated error."""
    return measured(row.isolated), measured(row.accumulated)


def tag_of(node: Node, behind: str) -> str:
    """The tag of the histograms of a call."""
    call = f"#{node.count}" if node.count > 1 else ""
    return f"layers/{printable(node.path) or 'root'}{call} {printable(node.typename)}{behind}"


def finite(array: Array) -> Array:
    """The finite elements of an activation: histograms take no others."""
    flat = np.asarray(array, np.float64).ravel()
    return flat[np.isfinite(flat)]


def require_tensorboard() -> None:
    """Raise UsageError if TensorBoard is not installed, which writes TensorFlow's summaries."""
    require("tensorboard", "tensorboard", "`tensorboard=`")


@contextmanager
def logbook(folder: Path, force: bool) -> Iterator[Logbook]:
    """A logbook in a folder that appears when the block ends, also with a ParityError."""
    require_tensorboard()
    failed: ParityError | None = None
    with atomic_directory(folder, force) as place:
        book = Logbook(place)
        try:
            yield book
        except ParityError as error:
            failed = error
        book.close()
    if failed is not None:
        raise failed
