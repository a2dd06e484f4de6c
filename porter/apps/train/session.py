"""One run from its options to its result: what is opened, trained, shown and written.

OUTPUT/training.json   the options, and what came of the run
OUTPUT/checkpoints/    to go on from
OUTPUT/events/         losses and samples for TensorBoard
OUTPUT/samples/        images on the way
OUTPUT/model_N.t7      the net after iteration N, as Torch would have saved it
OUTPUT/model.t7        the last of them
OUTPUT/model/          its port: what `porter convert` makes of model.t7
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from porter.apps.train.checkpoints import begin
from porter.apps.train.cluster import cluster
from porter.apps.train.criterion import criterion
from porter.apps.train.network import TrainableNetwork
from porter.apps.train.options import TrainOptions
from porter.apps.train.photos import PhotoFolder, photo_files
from porter.apps.train.run_folder import RECORD
from porter.apps.train.start import StartingPoint, start_of
from porter.apps.train.trainer import Hooks, OnProgress, Trainer, TrainingProgress, TrainingSummary
from porter.apps.transfer.descriptor import open_descriptor
from porter.apps.transfer.images import to_uint8
from porter.apps.transfer.source import Opening
from porter.errors import UnreadablePicture, UsageError
from porter.imaging.photos import Photo, lanczos, read_image, write_image
from porter.ir.fields import Array
from porter.system.atomic import EVENTS, reported, write_text
from porter.system.tensorflow import tf
from porter.torch7.writer import write_t7

SAMPLES = 4
"""Photos that are shown on the way."""
REWRITERS = {"float16": "auto_mixed_precision", "bfloat16": "auto_mixed_precision_onednn_bfloat16"}
"""TensorFlow's graph rewriters, which leave sums and normalisations in float32."""


@dataclass(frozen=True)
class TrainResult:
    """The result of a run. `model` is the port's folder; None for workers that write nothing."""

    options: TrainOptions
    trained: TrainingSummary
    skipped: dict[str, str]
    model: Path | None

    def json(self) -> dict[str, Any]:
        """As `porter train --json` and `training.json` have it."""
        return {
            "first_iteration": self.trained.first_iteration,
            "iterations": self.trained.iteration,
            "first_losses": self.trained.first,
            "last_losses": self.trained.last,
            "seconds": self.trained.seconds,
            "images_per_second": self.trained.rate,
            "skipped": self.skipped,
            "model": str(self.model) if self.model else None,
        }

    def summary(self) -> str:
        """The same in a few lines."""
        done = self.trained
        lines = []
        if done.first_iteration:
            lines.append(f"went on from iteration {done.first_iteration}")
        if done.last:
            first, last = sum(done.first.values()), sum(done.last.values())
            parts = ", ".join(f"{kind} {loss:.4g}" for kind, loss in done.last.items())
            lines.append(
                f"loss {first:.4g} → {last:.4g} ({parts}), {done.rate:.2f} images a second"
            )
        for path, why in self.skipped.items():
            lines.append(f"skipped {path}: {why}")
        if self.model:
            lines.append(f"written: {self.model} (saved_model, checkpoint), {self.model}.t7")
        return "\n".join(lines)


class Session:
    """A run, opened: whatever is wrong with its options or files was raised."""

    def __init__(self, options: TrainOptions, force: bool = False) -> None:
        self.options = options
        self.cluster = cluster()
        self.photos = photos_of(options)
        style = style_image_of(options)
        if options.mixed_precision in REWRITERS:
            tf.config.optimizer.set_experimental_options({REWRITERS[options.mixed_precision]: True})
        layers = list(dict.fromkeys((*options.content_names, *options.style_names)))
        descriptor = open_descriptor(
            options.descriptor,
            layers,
            padding="valid" if options.vgg_no_pad else "as-saved",
            preprocessing=options.preprocessing,
            opening=Opening(prototxt=options.proto_file),
        )
        self.start: StartingPoint = start_of(options)
        network = TrainableNetwork(
            self.start.root, self.start.input_encoding, self.start.output_encoding
        )
        network.require_same_size(options.image_size)
        if self.cluster.is_chief:
            begin(options, force)
        self.network = network
        self.trainer = Trainer(
            options,
            network,
            criterion(descriptor, tf.constant(style[None], tf.float32), options),
            self.cluster,
            self.photos,
        )
        if self.start.weights is not None:
            network.load(self.start.weights)

    def run(self, on_progress: OnProgress = lambda progress: None) -> TrainResult:
        """Train, and write the result. Raises PorterError."""
        events = self.events()
        shown = self.shown()
        at_start = self.trainer.checkpoints.latest() is None

        def report(progress: TrainingProgress) -> None:
            on_progress(progress)
            if events:
                with self.logged(events, progress.iteration):
                    for kind, loss in (*progress.losses.items(), ("total", progress.total)):
                        tf.summary.scalar(f"loss/{kind}", loss)

        def sample(iteration: int) -> None:
            image = self.sample(shown, iteration)
            if events:
                with self.logged(events, iteration):
                    tf.summary.image("sample", image[None])

        hooks = Hooks(report, sample, self.saved) if self.cluster.is_chief else Hooks()
        if self.cluster.is_chief and at_start and self.options.sample_every:
            sample(0)
        trained = self.trainer.train(hooks)
        skipped = {str(k): v for k, v in sorted(self.photos.skipped.items())} if self.photos else {}
        if not self.cluster.is_chief:
            return TrainResult(self.options, trained, skipped, None)
        result = TrainResult(self.options, trained, skipped, self.port())
        record = {"options": self.options.json(), "result": result.json()}
        write_text(self.options.output / RECORD, json.dumps(record, indent=2) + "\n")
        return result

    # What is written ------------------------------------------------------------------------------

    def events(self) -> Any:
        """A writer for TensorBoard, where it is installed and this worker writes.

        Raises EmitError.
        """
        if not self.cluster.is_chief or importlib.util.find_spec("tensorboard") is None:
            return None
        folder = self.options.output / "events"
        with reported(folder):
            return tf.summary.create_file_writer(str(folder), filename_suffix=EVENTS)

    @contextmanager
    def logged(self, events: Any, iteration: int) -> Iterator[None]:
        """What is summarised inside goes to TensorBoard. Raises EmitError."""
        with reported(self.options.output / "events"), events.as_default(iteration):
            yield

    def shown(self) -> Array:
        """Photos for the samples: the middle of the first few of val/, or of those learnt from."""
        size = self.options.image_size
        if self.photos is None or self.options.data is None:
            return np.zeros((1, size, size, 3), np.uint8)
        folder = PhotoFolder(photo_files(self.options.data, "val"), size, 0)
        middles = (center_crop(folder.pixels(file), size) for file in folder.files[: 8 * SAMPLES])
        chosen = [each for each in middles if each is not None][:SAMPLES]
        return np.stack(chosen or [self.photos.crop(0)])

    def sample(self, shown: Array, iteration: int) -> Array:
        """Photos above what the net makes of them; written to `samples/`."""
        folder = self.options.output / "samples"
        folder.mkdir(exist_ok=True)
        inputs = tf.constant(shown, tf.float32)
        outputs = self.evaluate(inputs, tf.constant(iteration, tf.int64))
        images = to_uint8(outputs)
        rows = [np.concatenate(list(images), axis=1)]
        if self.options.mode == "style":
            rows.insert(0, np.concatenate(list(shown), axis=1))
        grid = np.concatenate(rows)
        write_image(folder / f"{iteration:06d}.png", grid, Photo(grid))
        return grid

    def evaluate(self, images: Any, step: Any) -> Any:
        """The net in evaluation mode."""
        if not hasattr(self, "evaluation"):
            self.evaluation = tf.function(
                lambda x, step: self.network(x, training=False, step=step), autograph=False
            )
        return self.evaluation(images, step)

    def saved(self, iteration: int) -> None:
        """The net as Torch would have saved it."""
        tree = self.network.trained(self.options.tv_weight)
        write_t7(self.options.output / f"model_{iteration}.t7", tree)

    def port(self) -> Path:
        """`model.t7` and its port, verified. Raises ParityError, EmitError."""
        from porter.conversion.pipeline import convert
        from porter.conversion.request import Request

        file = self.options.output / "model.t7"
        write_t7(file, self.network.trained(self.options.tv_weight))
        folder = file.with_suffix("")
        convert(Request(file, folder, preset=self.start.preset, force=True))
        return folder


def photos_of(options: TrainOptions) -> PhotoFolder | None:
    """The photos to learn from; a texture needs none. Raises UsageError."""
    if options.mode == "texture" or options.data is None:
        return None
    folder = PhotoFolder(photo_files(options.data), options.image_size, options.manualSeed)
    folder.crop(0)
    return folder


def style_image_of(options: TrainOptions) -> Array:
    """The style image, H×W×3, scaled so that its longer side is `style_size`.

    Raises UsageError where it is smaller than the crop or cannot be read.
    """
    try:
        image = read_image(options.style_image).pixels
    except UnreadablePicture as error:
        raise UsageError(
            f"the style image cannot be used: {error.message}", where=str(options.style_image)
        ) from error
    height, width = image.shape[:2]
    if min(height, width) < options.image_size:
        raise UsageError(
            f"the style image is smaller than the crop of {options.image_size}×"
            f"{options.image_size}",
            where=str(options.style_image),
            received=f"{height}×{width}",
            hint="give a larger image, or a smaller `image_size=`",
        )
    factor = options.style_size / max(height, width) if options.style_size else 1.0
    if factor == 1.0:
        return image
    return lanczos(image, max(1, round(height * factor)), max(1, round(width * factor)))


def center_crop(photo: Array | None, size: int) -> Array | None:
    """The middle of a photo, size×size."""
    if photo is None:
        return None
    top, left = ((extent - size) // 2 for extent in photo.shape[:2])
    return photo[top : top + size, left : left + size]
