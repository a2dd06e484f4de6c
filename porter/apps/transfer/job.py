"""A whole transfer, from images to an image: the library's side of `porter transfer`."""

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
from porter.apps.transfer.images import ImageInput
from porter.apps.transfer.objective import Losses, Objective
from porter.apps.transfer.optimizers import Enough, adam, lbfgs
from porter.apps.transfer.recipe import Recipe, read_recipe
from porter.apps.transfer.run import Monitor, TransferProgress, load, save
from porter.apps.transfer.source import Opening
from porter.errors import Diverged, Interrupted, PorterError, UsageError
from porter.imaging.photos import Photo

Array = npt.NDArray[Any]
OnProgress = Callable[[TransferProgress, Losses], None]


@dataclass(frozen=True)
class TransferResult:
    """The result of a transfer.

    `image` is 8-bit H×W×3: the one with the lowest loss at the last size, found at evaluation
    `best_step`. `history` has the size's number and the losses of every evaluation. `stopped` tells
    why the run ended before its budget, if it did; the image is then the best one until there.
    """

    image: Array
    recipe: Recipe
    descriptor: str
    history: tuple[tuple[int, Losses], ...]
    best_step: int
    best_loss: float
    seconds: float
    content: Photo
    stopped: PorterError | None = None

    def json(self) -> dict[str, object]:
        """Everything but the pixels."""
        last = self.history[self.best_step - 1][1]
        return {
            "size": {"height": self.image.shape[0], "width": self.image.shape[1]},
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
class Checkpointing:
    """What is written during a run: `state` every `every` evaluations, and whatever
    `snapshot` does with the best image so far and the number of evaluations."""

    state: Path | None = None
    every: int = 50
    snapshot: Callable[[Array, int], None] | None = None
    resume: bool = False


def transfer(
    content: ImageInput,
    styles: ImageInput | Sequence[ImageInput],
    descriptor: Descriptor | str | os.PathLike[str] | None = None,
    recipe: Recipe | str = "gatys",
    *,
    blend: Sequence[float] | None = None,
    image_size: int | None = None,
    style_size: int | None = None,
    preprocessing: str | None = None,
    sha256: str | None = None,
    opening: Opening | None = None,
    checkpointing: Checkpointing | None = None,
    on_progress: OnProgress = lambda progress, losses: None,
) -> TransferResult:
    """Optimise an image until its content is `content`'s and its style that of `styles`.

    Images are files or 8-bit arrays of any size and mode. `blend` gives the styles' shares
    (default: equal). `image_size` scales the content's longer side, `style_size` those of the
    styles (default: as long as the content's). `descriptor` is one that was opened with the
    recipe's layers, or a weight file (default: the recipe's, where it names one); `preprocessing`,
    `sha256` and `opening` belong to a file.
    `on_progress` is called after every evaluation.

    Raises UsageError, UnreadablePicture, WeightError, TooLarge; Diverged only where not even the
    first loss is a number. Ctrl-C ends the run and gives the best image so far.
    """
    start = time.perf_counter()
    full_precision()
    recipe = read_recipe(recipe) if isinstance(recipe, str) else recipe
    sources: list[Any] = list(styles) if isinstance(styles, list | tuple) else [styles]
    weights = list(blend) if blend is not None else [1.0] * len(sources)
    if len(weights) != len(sources):
        raise UsageError(
            "every style has one weight", received=f"{len(weights)} for {len(sources)} styles"
        )
    photo = images.open_image(content, image_size)
    longest = style_size or max(photo.size)
    paintings = [images.open_image(each, longest).pixels for each in sources]
    if not isinstance(descriptor, Descriptor):
        descriptor = open_descriptor(
            recipe.descriptor_or(descriptor),
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
    progress, stopped = job.run(checkpointing or Checkpointing(), on_progress)
    assert progress.best is not None
    return TransferResult(
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
    """Images at their last size, and how they are run."""

    descriptor: Descriptor
    recipe: Recipe
    photo: Photo
    styles: list[tuple[Array, float]]

    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to be resumed; only the budget may change,
        and where the same weights lie."""
        free = ("evaluations", "descriptor")
        recipe = {k: v for k, v in self.recipe.json().items() if k not in free}
        # As JSON gives it back.
        recipe["scales"] = list(self.recipe.scales)
        return {
            "recipe": recipe,
            "descriptor": self.descriptor.what,
            "content": digest(self.photo.pixels),
            "styles": [[digest(style), weight] for style, weight in self.styles],
        }

    def limit(self, scale: int) -> int:
        """Evaluations that are done when a size is finished: the budget in equal shares."""
        count = len(self.recipe.scales)
        return self.recipe.evaluations * (scale + 1) // count

    def sized(self, scale: int) -> tuple[Array, list[Array]]:
        """Content and styles as they are compared at a size."""
        factor = self.recipe.scales[scale] / self.recipe.scales[-1]
        content = images.scaled(self.photo.pixels, factor)
        styles = [images.scaled(style, factor) for style, _ in self.styles]
        return images.prepared(content, styles, self.recipe.colour)

    def run(
        self, checkpointing: Checkpointing, on_progress: OnProgress
    ) -> tuple[TransferProgress, PorterError | None]:
        """Run what is left to do; the progress at the end, and why it came early if it did."""
        identity = self.identity() if checkpointing.state is not None else {}
        if checkpointing.resume and checkpointing.state is not None:
            progress = load(checkpointing.state, identity)
        else:
            progress = TransferProgress()
            progress.begin(images.initial_image(self.recipe, self.sized(0)[0]))
        stopped: PorterError | None = None

        def watch(progress: TransferProgress, losses: Losses) -> None:
            on_progress(progress, losses)
            if progress.count % checkpointing.every == 0 and progress.best is not None:
                if checkpointing.snapshot is not None:
                    checkpointing.snapshot(self.finished(progress), progress.count)
                if checkpointing.state is not None:
                    save(checkpointing.state, progress, identity)

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
        if checkpointing.state is not None and not isinstance(stopped, Diverged):
            save(checkpointing.state, progress, identity)
        return progress, stopped

    def run_scales(self, progress: TransferProgress, watch: OnProgress) -> None:
        """Size after size, each from the best image of the one before."""
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
            progress.advance(images.resized(progress.best, *following.shape[:2]))

    def finished(self, progress: TransferProgress) -> Array:
        """The best image so far at its last size, 8 bits."""
        assert progress.best is not None
        best = images.resized(progress.best, *self.photo.size)
        return images.final_image(best, self.photo.pixels, self.recipe.colour)


def optimise(objective: Objective, progress: TransferProgress, monitor: Monitor) -> None:
    """One size, from where `progress` stands until its budget is used up."""
    assert progress.image is not None
    recipe = objective.recipe
    try:
        if recipe.optimizer == "adam":
            adam(monitor, progress.image, recipe, progress.moments)
        else:
            # L-BFGS's memory is not kept: a resumed run begins a new one at the best image.
            lbfgs(monitor, progress.image if progress.best is None else progress.best, recipe)
    except Enough:
        pass


def digest(image: Array) -> str:
    """An image's identity."""
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
