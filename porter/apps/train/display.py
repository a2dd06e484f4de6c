"""The progress bar of a run, where standard error is a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from porter.apps.train.trainer import OnProgress, TrainingProgress


@contextmanager
def progress(total: int) -> Iterator[OnProgress]:
    """Yield what is called after every iteration."""
    console = Console(stderr=True, highlight=False)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as display:
        task = display.add_task("train", total=total)

        def on_progress(state: TrainingProgress) -> None:
            parts = ", ".join(f"{kind} {loss:.4g}" for kind, loss in state.losses.items())
            display.update(
                task, completed=state.iteration, description=f"loss {state.total:.4g} ({parts})"
            )

        yield on_progress
