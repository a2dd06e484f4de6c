"""One transfer while it runs: the budget, the losses so far, the best image, the saved state."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from porter.apps.transfer.objective import Losses, Objective
from porter.apps.transfer.optimizers import AdamState, Enough
from porter.errors import Diverged, UsageError
from porter.runtime.archive import BROKEN, open_archive
from porter.system.atomic import write_bytes

Array = npt.NDArray[Any]


@dataclass
class TransferProgress:
    """What a run has done: losses of all evaluations, and where it stands.

    `scale` counts the sizes that are finished; `image` is what is evaluated next, `best` the one
    with the lowest loss at this size, found at evaluation `best_step` (from 1). `evaluated`
    tells whether the last losses are those of `image`.
    """

    history: list[tuple[int, Losses]] = field(default_factory=list)
    scale: int = 0
    image: Array | None = None
    moments: AdamState | None = None
    best: Array | None = None
    best_loss: float = float("inf")
    best_step: int = 0
    evaluated: bool = False

    @property
    def count(self) -> int:
        """Evaluations so far, of all sizes."""
        return len(self.history)

    def advance(self, image: Array) -> None:
        """Go on to the next size, with an image to begin with."""
        self.scale += 1
        self.begin(image)

    def begin(self, image: Array) -> None:
        """Start anew at a size."""
        self.image, self.moments, self.best = image, None, None
        self.best_loss, self.evaluated = float("inf"), False


OnProgress = Callable[[TransferProgress, Losses], None]


@dataclass
class Monitor:
    """Stands between an optimiser and the objective until `limit` evaluations are done."""

    objective: Objective
    progress: TransferProgress
    limit: int
    on_progress: OnProgress

    def __call__(self, x: Array, moments: AdamState | None = None) -> tuple[float, Array]:
        """The loss and gradient at `x`. Raises Enough, or Diverged where the loss is no number."""
        progress = self.progress
        progress.image, progress.moments, progress.evaluated = x, moments, False
        if progress.count >= self.limit:
            raise Enough
        evaluation = self.objective(x)
        total = evaluation.losses.total
        if not np.isfinite(total) or not np.isfinite(evaluation.gradient).all():
            raise Diverged(
                f"the loss is not finite at step {progress.count + 1}",
                received=", ".join(f"{k} {v:g}" for k, v in vars(evaluation.losses).items()),
                hint="lower the weights or the learning rate; the best image so far is kept",
            )
        progress.history.append((progress.scale, evaluation.losses))
        progress.evaluated = True
        if total < progress.best_loss:
            progress.best, progress.best_loss = np.array(x), total
            progress.best_step = progress.count
        self.on_progress(progress, evaluation.losses)
        return total, evaluation.gradient


# On disk ------------------------------------------------------------------------------------------

LOSSES = ("total", "content", "style", "variation")


def save(path: Path, progress: TransferProgress, identity: dict[str, Any]) -> None:
    """Everything that `load` needs to go on; the file appears whole or not at all.

    What is evaluated already is evaluated once more, for its gradient.
    """
    history = progress.history[:-1] if progress.evaluated else progress.history
    arrays: dict[str, Any] = {
        "identity": json.dumps(identity, sort_keys=True),
        "history": np.array(
            [[scale, *(getattr(each, n) for n in LOSSES)] for scale, each in history]
        ).reshape(-1, 5),
        "scale": progress.scale,
        "best_loss": progress.best_loss,
        "best_step": progress.best_step,
    }
    for name in ("image", "best"):
        if getattr(progress, name) is not None:
            arrays[name] = getattr(progress, name)
    if progress.moments is not None:
        moments = progress.moments
        arrays |= {"first": moments.first, "second": moments.second, "steps": moments.steps}
    content = io.BytesIO()
    np.savez(content, **arrays)
    write_bytes(path, content.getvalue())


def load(path: Path, identity: dict[str, Any]) -> TransferProgress:
    """A run that was stopped. Raises UsageError where the file is none, or is another run's."""
    try:
        with open_archive(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
        saved: dict[str, Any] = json.loads(str(arrays["identity"]))
        history = [
            (int(row[0]), Losses(*(float(value) for value in row[1:]))) for row in arrays["history"]
        ]
        moments = None
        if "first" in arrays:
            moments = AdamState(arrays["first"], arrays["second"], int(arrays["steps"]))
        progress = TransferProgress(
            history,
            int(arrays["scale"]),
            arrays.get("image"),
            moments,
            arrays.get("best"),
            float(arrays["best_loss"]),
            int(arrays["best_step"]),
        )
    except FileNotFoundError as error:
        raise UsageError(f"there is nothing to resume: no {path}") from error
    except BROKEN as error:
        raise UsageError(f"{path} is not the state of a transfer", received=str(error)) from error
    differing = [key for key in identity if saved.get(key) != identity[key]]
    if differing:
        raise UsageError(
            f"{path} belongs to a run with another {', '.join(differing)}",
            hint="repeat the command that was stopped, or begin anew with `force=True`",
        )
    return progress
