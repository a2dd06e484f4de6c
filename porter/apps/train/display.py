"""The bar under which a run is watched; nothing where nobody looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from porter.apps.train.trainer import OnProgress
    from porter.apps.train.trainer import Progress as DerivedParam


@contextmanager
def progress(total: int) -> Iterator[OnProgress]:
    """What is to be told of every iteration."""
    console = Console(stderr=True, highlight=False)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as display:
        task = display.add_task("train", total=total)

        def seen(made: DerivedParam) -> None:
            parts = ", ".join(f"{kind} {loss:.4g}" for kind, loss in made.losses.items())
            display.update(
                task, completed=made.iteration, description=f"loss {made.total:.4g} ({parts})"
            )

        yield seen
