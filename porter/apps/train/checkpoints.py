"""What is kept of a run, so that it can go on exactly: `checkpoints/` and `training.json`.

A checkpoint holds weights by Torch path, the running statistics, the optimiser's moments and the
iteration. The order of the samples follows from the iteration (photos.py). It is written
whole before an older one is removed, so that a disk that fills up or a machine that dies costs at
most the iterations since the last one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from porter.apps.train.network import TrainableNetwork, require_same_weights
from porter.apps.train.options import TrainOptions
from porter.apps.train.run_folder import RECORD, require_startable
from porter.emit.checkpoint import tree
from porter.errors import EmitError, UsageError
from porter.system.atomic import reported, write_text
from porter.system.quiet import quiet_stderr
from porter.system.tensorflow import tf

FOLDER = "checkpoints"
WEIGHTS = "weights.json"
"""Names and shapes of the weights, beside the checkpoints that hold them."""


class Checkpoints:
    """Saves and restores a run. All workers save, since that may gather from all; one keeps it."""

    def __init__(
        self, output: Path, network: TrainableNetwork, optimizer: Any, keep: int, worker: int = 0
    ) -> None:
        self.network = network
        self.iteration = tf.Variable(0, dtype=tf.int64, trainable=False, name="iteration")
        self.checkpoint = tf.train.Checkpoint(
            weights=tf.train.Checkpoint(**tree(network.variables.by_name)),
            optimizer=optimizer,
            iteration=self.iteration,
        )
        self.kept = output / FOLDER
        own = self.kept if worker == 0 else output / f".worker-{worker}"
        self.own = own
        self.manager = tf.train.CheckpointManager(
            self.checkpoint, str(own), max_to_keep=keep, checkpoint_name="iteration"
        )

    def latest(self) -> str | None:
        """The last good checkpoint of the run, whichever worker asks."""
        with quiet_stderr():
            path: str | None = tf.train.latest_checkpoint(str(self.kept))
        return path

    def save(self, iteration: int) -> None:
        """Keep everything as it is after an iteration. Raises EmitError where that fails."""
        self.iteration.assign(iteration)
        with self.spared(iteration), reported(self.kept):
            self.own.mkdir(parents=True, exist_ok=True)
            if not (self.own / WEIGHTS).exists():
                write_text(self.own / WEIGHTS, json.dumps(self.network.shapes()))
            with quiet_stderr():
                self.manager.save(checkpoint_number=iteration)
        if self.own != self.kept:
            shutil.rmtree(self.own, ignore_errors=True)

    @contextmanager
    def spared(self, iteration: int) -> Iterator[None]:
        """Remove what a save that failed has left; say which checkpoint is the last good one."""
        try:
            yield
        except EmitError as error:
            for left in self.own.glob(f"iteration-{iteration}*"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            last = self.latest()
            kept = f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"
            error.hint = f"{error.hint}; {kept}; the same command goes on from there"
            raise

    def restore(self) -> int:
        """Take up the last good checkpoint; returns its iteration, 0 where there is none.

        Raises UsageError for a checkpoint of another architecture.
        """
        last = self.latest()
        if last is None:
            return 0
        try:
            self.require_ours(last)
            with quiet_stderr():
                self.checkpoint.restore(last).assert_existing_objects_matched()
        except (tf.errors.OpError, OSError, AssertionError, IndexError, ValueError) as error:
            raise UsageError(
                f"the checkpoint {last} cannot be restored",
                received=str(error).strip().splitlines()[0],
                hint="remove it to go on from an earlier one, or begin anew with `force=True`",
            ) from error
        return int(self.iteration.numpy())

    def require_ours(self, where: str) -> None:
        """Raise UsageError unless the checkpoint's weights are those of the net."""
        saved = json.loads((self.kept / WEIGHTS).read_text(encoding="utf-8"))
        shapes = {name: tuple(shape) for name, shape in saved.items()}
        require_same_weights(shapes, self.network.shapes(), where)


def begin(options: TrainOptions, force: bool) -> None:
    """Make the folder of a run, or see that it is this run's. Raises UsageError, EmitError."""
    output = options.output
    record = output / RECORD
    if force and record.exists():
        clear(output)
    else:
        require_startable(options)
    with reported(output):
        output.mkdir(parents=True, exist_ok=True)
    write_text(record, json.dumps({"options": options.json()}, indent=2) + "\n")


def clear(output: Path) -> None:
    """Remove an earlier run, and leave what else is in its folder. Raises EmitError."""
    with reported(output):
        for left in sorted(output.iterdir()):
            ours = left.name in (FOLDER, RECORD, "samples", "events", "model", "model.t7")
            if ours or left.match("model_*.t7"):
                shutil.rmtree(left) if left.is_dir() else os.unlink(left)
