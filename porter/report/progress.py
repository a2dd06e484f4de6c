"""Progress on standard error: a spinner on a terminal, else a line every few seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from porter.errors import printable

INTERVAL = 5.0
"""Seconds between two lines where there is no terminal."""


class ProgressDisplay(Protocol):
    """What commands tell of: one task, its description, and how much of it is done."""

    def add_task(self, description: str, *, total: float | None = None) -> Any: ...

    def update(
        self,
        task_id: Any,
        *,
        total: float | None = None,
        completed: float | None = None,
        advance: float | None = None,
        description: str | None = None,
    ) -> None: ...


class Lines:
    """The task as it stands, in one line now and then: for logs, pipes and CI."""

    def __init__(self) -> None:
        self.description = ""
        self.total: float | None = None
        self.completed = 0.0
        self.started = time.monotonic()

    def add_task(self, description: str, *, total: float | None = None) -> int:
        self.description, self.total = description, total
        return 0

    def update(
        self,
        task_id: Any,
        *,
        total: float | None = None,
        completed: float | None = None,
        advance: float | None = None,
        description: str | None = None,
    ) -> None:
        self.total = self.total if total is None else total
        self.completed = self.completed if completed is None else completed
        self.completed += advance or 0.0
        self.description = self.description if description is None else description

    def line(self) -> str:
        """Seconds since the start, how much is done, and of what."""
        counted = f"{self.completed:.0f}/{self.total:.0f} " if self.total else ""
        seconds = time.monotonic() - self.started
        return f"{seconds:5.0f} s  {counted}{printable(self.description)}"


@contextmanager
def progress(quiet: bool = False) -> Iterator[ProgressDisplay]:
    """A display of stage and layer on standard error; `quiet` shows nothing."""
    if quiet:
        yield Lines()
    elif sys.stderr.isatty():
        with spinner() as display:
            yield display
    else:
        with lines_every(INTERVAL) as display:
            yield display


@contextmanager
def spinner() -> Iterator[ProgressDisplay]:
    """A spinner that is gone at the end."""
    # Commands that end in a moment show none, and do not wait for its import.
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, console=console, transient=True) as display:
        yield display


@contextmanager
def lines_every(seconds: float) -> Iterator[ProgressDisplay]:
    """A line every few seconds, also while one layer takes longer."""
    lines, ended = Lines(), threading.Event()

    def show() -> None:
        while not ended.wait(seconds):
            print(lines.line(), file=sys.stderr, flush=True)

    thread = threading.Thread(target=show, name="progress", daemon=True)
    thread.start()
    try:
        yield lines
    finally:
        ended.set()
        thread.join()
