"""A whole transfer: pictures in, a picture out; the library's side of `porter transfer`."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from porter.apps.stylize.runners import full_precision
from porter.apps.transfer import images, memory
from porter.apps.transfer.checks import require_layers
from porter.apps.transfer.descriptor import Descriptor, open_descriptor
from porter.apps.transfer.images import Given
from porter.apps.transfer.objective import Losses, Objective
from porter.apps.transfer.optimizers import Enough, adam, lbfgs
from porter.apps.transfer.recipe import Recipe, read_recipe
from porter.apps.transfer.run import Monitor, Progress, load, save
from porter.apps.transfer.source import Opening
from porter.errors import Diverged, Interrupted, PorterError, UsageError
from porter.imaging.photos import Photo

Array = npt.NDArray[Any]
OnProgress = Callable[[Progress, Losses], None]


@dataclass(frozen=True)
class Result:
    """What became of a transfer.

    `picture` is 8-bit H×W×3: the one with the lowest loss at the last size, made at evaluation
    `best_step`. `history` has the size's number and the losses of every evaluation. `stopped` tells
    why the run ended before its budget, if it did; the picture is then the best one until there.
    """

    picture: Array
    recipe: Recipe
    descriptor: str
    history: tuple[tuple[int, Losses], ...]
    best_step: int
    best_loss: float
    seconds: float
    content: Photo
    stopped: PorterError | None = None

    def json(self) -> dict[str, Any]:
        """Everything but the pixels."""
        last = self.history[self.best_step - 1][1]
        return {
            "size": {"height": self.picture.shape[0], "width": self.picture.shape[1]},
            "descriptor": self.descriptor,
            "evaluations": len(self.history),
            "best_step": self.best_step,
            "best": dict(vars(last)),
            "first": dict(vars(self.history[0][1])),
            "seconds": self.seconds,
            "stopped": None if self.stopped is None else self.stopped.message,
            "recipe": self.recipe.json(),
        }


@dataclass(frozen=True)
class Keeping:
    """What is written while a run goes on: `state` every `every` evaluations, and whatever
    `snapshot` does with the best picture so far and the number of evaluations."""

    state: Path | None = None
    every: int = 50
    snapshot: Callable[[Array, int], None] | None = None
    resume: bool = False


def transfer(
    content: Given,
    styles: Given | Sequence[Given],
    descriptor: Descriptor | str | os.PathLike[str],
    recipe: Recipe | str = "gatys",
    *,
    blend: Sequence[float] | None = None,
    image_size: int | None = None,
    style_size: int | None = None,
    preprocessing: str | None = None,
    sha256: str | None = None,
    opening: Opening | None = None,
    keeping: Keeping | None = None,
    seen: OnProgress = lambda progress, losses: None,
) -> Result:
    """Optimise a picture until its content is `content`'s and its style that of `styles`.

    Pictures are files or 8-bit arrays of any size and mode. `blend` gives the styles' shares
    (default: equal). `image_size` scales the content's longer side, `style_size` those of the
    styles (default: as long as the content's). `descriptor` is one that was opened with the
    recipe's layers, or a weight file; `preprocessing`, `sha256` and `opening` belong to a file.
    `seen` is called after every evaluation.

    Raises UsageError, UnreadablePicture, WeightError, TooLarge; Diverged only where not even the
    first loss is a number. Ctrl-C ends the run and gives the best picture so far.
    """
    start = time.perf_counter()
    full_precision()
    recipe = read_recipe(recipe) if isinstance(recipe, str) else recipe
    given: list[Any] = list(styles) if isinstance(styles, list | tuple) else [styles]
    weights = list(blend) if blend is not None else [1.0] * len(given)
    if len(weights) != len(given):
        raise UsageError(
            "every style has one weight", received=f"{len(weights)} for {len(given)} styles"
        )
    photo = images.opened(content, image_size)
    longest = style_size or max(photo.size)
    paintings = [images.opened(each, longest).levels for each in given]
    if not isinstance(descriptor, Descriptor):
        descriptor = open_descriptor(
            descriptor,
            recipe.layers,
            pooling=recipe.pooling,
            padding=recipe.padding,
            preprocessing=preprocessing,
            sha256=sha256,
            opening=opening,
        )
    require_layers(recipe.layers, descriptor.layers, "the descriptor that was opened")
    memory.require(descriptor, *photo.size)
    job = TransferJob(descriptor, recipe, photo, list(zip(paintings, weights, strict=True)))
    progress, stopped = job.run(keeping or Keeping(), seen)
    assert progress.best is not None
    return Result(
        job.finished(progress),
        recipe,
        descriptor.what,
        tuple(progress.history),
        progress.best_step,
        progress.best_loss,
        time.perf_counter() - start,
        photo,
        stopped,
    )


@dataclass
class TransferJob:
    """Pictures at their last size, and how they are run."""

    descriptor: Descriptor
    recipe: Recipe
    photo: Photo
    styles: list[tuple[Array, float]]

    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to be resumed; only the budget may change."""
        recipe = {k: v for k, v in self.recipe.json().items() if k != "evaluations"}
        # As JSON gives it back.
        recipe["scales"] = list(self.recipe.scales)
        return {
            "recipe": recipe,
            "descriptor": self.descriptor.what,
            "content": digest(self.photo.levels),
            "styles": [[digest(levels), weight] for levels, weight in self.styles],
        }

    def limit(self, scale: int) -> int:
        """Evaluations that are done when a size is finished: the budget in equal shares."""
        count = len(self.recipe.scales)
        return self.recipe.evaluations * (scale + 1) // count

    def sized(self, scale: int) -> tuple[Array, list[Array]]:
        """Content and styles as they are compared at a size."""
        factor = self.recipe.scales[scale] / self.recipe.scales[-1]
        content = images.scaled(self.photo.levels, factor)
        styles = [images.scaled(levels, factor) for levels, _ in self.styles]
        return images.prepared(content, styles, self.recipe.colour)

    def run(self, keeping: Keeping, seen: OnProgress) -> tuple[Progress, PorterError | None]:
        """Run what is left to do; the progress at the end, and why it came early if it did."""
        identity = self.identity() if keeping.state is not None else {}
        if keeping.resume and keeping.state is not None:
            progress = load(keeping.state, identity)
        else:
            progress = Progress()
            progress.begin(images.beginning(self.recipe, self.sized(0)[0]))
        stopped: PorterError | None = None

        def watch(progress: Progress, losses: Losses) -> None:
            seen(progress, losses)
            if progress.count % keeping.every == 0 and progress.best is not None:
                if keeping.snapshot is not None:
                    keeping.snapshot(self.finished(progress), progress.count)
                if keeping.state is not None:
                    save(keeping.state, progress, identity)

        try:
            self.run_scales(progress, watch)
        except Diverged as error:
            if progress.best is None:
                raise
            stopped = error
        except KeyboardInterrupt:
            if progress.best is None:
                raise
            stopped = Interrupted(f"interrupted after {progress.count} evaluations")
        if keeping.state is not None and not isinstance(stopped, Diverged):
            save(keeping.state, progress, identity)
        return progress, stopped

    def run_scales(self, progress: Progress, watch: OnProgress) -> None:
        """Size after size, each from the best picture of the one before."""
        last = len(self.recipe.scales) - 1
        while True:
            content, styles = self.sized(progress.scale)
            weighted = [
                (each, weight) for each, (_, weight) in zip(styles, self.styles, strict=True)
            ]
            objective = Objective(self.descriptor, self.recipe, content, weighted)
            limit = self.limit(progress.scale)
            optimise(objective, progress, Monitor(objective, progress, limit, watch))
            if progress.scale == last:
                return
            assert progress.best is not None
            following, _ = self.sized(progress.scale + 1)
            progress.advance(images.enlarged(progress.best, *following.shape[:2]))

    def finished(self, progress: Progress) -> Array:
        """The best picture so far at its last size, 8 bits."""
        assert progress.best is not None
        best = images.enlarged(progress.best, *self.photo.size)
        return images.finished(best, self.photo.levels, self.recipe.colour)


def optimise(objective: Objective, progress: Progress, monitor: Monitor) -> None:
    """One size, from where `progress` stands until its budget is used up."""
    assert progress.picture is not None
    recipe = objective.recipe
    try:
        if recipe.optimizer == "adam":
            adam(monitor, progress.picture, recipe, progress.moments)
        else:
            # L-BFGS's memory is not kept: a resumed run begins a new one at the best picture.
            lbfgs(monitor, progress.picture if progress.best is None else progress.best, recipe)
    except Enough:
        pass


def digest(levels: Array) -> str:
    """A picture's identity."""
    return hashlib.sha256(repr(levels.shape).encode() + levels.tobytes()).hexdigest()
