"""The loop: samples, one step on every replica, and what is kept, shown and written on the way.

The optimiser is Adam as in Torch's optim.adam (its epsilon is 1e-8), whose learning rate is
multiplied by 0.8 every 2,000 iterations, as train.lua does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from porter.apps.train.adam import FusedAdam
from porter.apps.train.checkpoints import Checkpoints
from porter.apps.train.cluster import Cluster
from porter.apps.train.criterion import Criterion
from porter.apps.train.network import TrainableNetwork
from porter.apps.train.options import TrainOptions
from porter.apps.train.photos import PhotoFolder
from porter.apps.train.pipeline import Share, require_divisible, samples
from porter.errors import Diverged
from porter.system.tensorflow import tf

DECAY, DECAY_EVERY = 0.8, 2_000
"""train.lua: state.learningRate*0.8, if it%2000 == 0."""
KINDS = ("content", "style", "tv")

Losses = dict[str, float]


@dataclass
class TrainingProgress:
    """What the loop reports after an iteration: its number, its losses, and the seconds so far."""

    iteration: int
    losses: Losses
    seconds: float

    @property
    def total(self) -> float:
        return sum(self.losses.values())


OnProgress = Callable[[TrainingProgress], None]


@dataclass
class Hooks:
    """What the first worker alone does during a run."""

    on_progress: OnProgress = lambda progress: None
    sample: Callable[[int], None] = lambda iteration: None
    saved: Callable[[int], None] = lambda iteration: None


@dataclass
class TrainingSummary:
    """Losses of the first and the last iteration of this run, and images per second."""

    first_iteration: int
    iteration: int
    first: Losses = field(default_factory=dict)
    last: Losses = field(default_factory=dict)
    seconds: float = 0.0
    rate: float = 0.0


def optimizer_of(options: TrainOptions) -> Any:
    """optim.adam with train.lua's schedule."""
    schedule = tf.keras.optimizers.schedules.ExponentialDecay(
        options.learning_rate, DECAY_EVERY, DECAY, staircase=True
    )
    adam = FusedAdam(schedule, beta_1=0.9, beta_2=0.999, epsilon=1e-8)
    if options.mixed_precision == "float16":
        return tf.keras.optimizers.LossScaleOptimizer(adam)
    return adam


class Trainer:
    """Trains a network on one machine or as one worker of several."""

    def __init__(
        self,
        options: TrainOptions,
        network: TrainableNetwork,
        criterion: Criterion,
        cluster: Cluster,
        photos: PhotoFolder | None,
    ) -> None:
        self.options = options
        self.network = network
        self.criterion = criterion
        self.cluster = cluster
        self.strategy = cluster.strategy
        self.photos = photos
        self.replicas: int = self.strategy.num_replicas_in_sync
        require_divisible(options.batch_size, self.replicas)
        with self.strategy.scope():
            network.make_variables(options.batch_size // self.replicas, options.image_size)
            self.weights = network.trainable
            self.optimizer = optimizer_of(options)
            self.optimizer.build(self.weights)
            self.checkpoints = Checkpoints(
                options.output, network, self.optimizer, options.keep, cluster.worker
            )
        self.step = tf.function(self.distributed, autograph=False, reduce_retracing=True)

    # One iteration --------------------------------------------------------------------------------

    def distributed(self, photos: Any, iteration: Any) -> dict[str, Any]:
        """A step on every replica; returns the losses of the whole batch."""
        losses = self.strategy.run(self.replica_step, args=(photos, iteration))
        return {
            kind: self.strategy.reduce(tf.distribute.ReduceOp.SUM, loss, axis=None)
            for kind, loss in losses.items()
        }

    def replica_step(self, photos: Any, iteration: Any) -> dict[str, Any]:
        """Loss and update on one replica's part of the batch; its share of the losses."""
        images = tf.cast(photos, tf.float32)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        noise = iteration * self.replicas + tf.cast(replica, tf.int64)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.weights)
            outputs = self.network(images, training=True, step=noise)
            losses = self.criterion(outputs, images)
            # Means over the batch are shared out among the replicas; the sum of TV is not.
            shares = {
                kind: loss if kind == "tv" else loss / self.replicas
                for kind, loss in losses.items()
            }
            total = tf.add_n([shares[kind] for kind in KINDS])
            if hasattr(self.optimizer, "scale_loss"):
                total = self.optimizer.scale_loss(total)
        # Rectifiers hide from the losses what is not a number: 0 times it is none either.
        doubt = 0 * tf.add_n([tf.reduce_sum(each) for each in (outputs, *self.weights)])
        shares = {kind: loss + doubt for kind, loss in shares.items()}
        gradients = tape.gradient(total, self.weights)
        pairs = [(g, w) for g, w in zip(gradients, self.weights, strict=True) if g is not None]
        self.optimizer.apply_gradients(pairs)
        return shares

    # The loop -------------------------------------------------------------------------------------

    def train(self, hooks: Hooks) -> TrainingSummary:
        """Go on from the last checkpoint to the last iteration. Raises Diverged, EmitError."""
        options = self.options
        start = self.checkpoints.restore()
        done = TrainingSummary(start, start)
        if start >= options.num_iterations:
            return done
        if self.photos is not None:
            self.photos.crop(start * options.batch_size)
        batches = iter(self.dataset(range(start, options.num_iterations)))
        began = time.perf_counter()
        warm = began
        for iteration in range(start + 1, options.num_iterations + 1):
            losses = self.iterate(batches, iteration)
            self.require_finite(losses, iteration)
            done.iteration, done.last = iteration, losses
            done.first = done.first or losses
            if iteration == start + 1:
                warm = time.perf_counter()
            hooks.on_progress(TrainingProgress(iteration, losses, time.perf_counter() - began))
            last = iteration == options.num_iterations
            if options.sample_every and (iteration % options.sample_every == 0 or last):
                hooks.sample(iteration)
            if iteration % options.save_every == 0 or last:
                self.save(iteration)
                hooks.saved(iteration)
        done.seconds = time.perf_counter() - began
        count = (done.iteration - start - 1) * options.batch_size
        done.rate = count / max(time.perf_counter() - warm, 1e-9)
        return done

    def dataset(self, iterations: range) -> Any:
        """Batches, one for each replica in turn."""
        options = self.options

        def of(context: Any) -> Any:
            local = context.num_replicas_in_sync // context.num_input_pipelines
            share = Share(self.replicas, local, context.input_pipeline_id * local)
            return samples(
                self.photos,
                options.image_size,
                options.batch_size,
                share,
                iterations,
                options.nThreads,
            )

        return self.strategy.distribute_datasets_from_function(of)

    def iterate(self, batches: Any, iteration: int) -> Losses:
        """One iteration; raises what went wrong in a thread that reads photos as itself."""
        try:
            losses = self.step(next(batches), tf.constant(iteration, tf.int64))
            return {kind: float(loss) for kind, loss in losses.items()}
        except tf.errors.OpError as error:
            raise self.cluster.explained(error, iteration) from error

    def require_finite(self, losses: Losses, iteration: int) -> None:
        """Raise Diverged where a loss is not a number: these weights are not kept."""
        wrong = [kind for kind, loss in losses.items() if not math.isfinite(loss)]
        if wrong:
            raise self.diverged(f"the {' and '.join(wrong)} loss is not a number", iteration)

    def save(self, iteration: int) -> None:
        """Keep a checkpoint, unless a weight is not a number."""
        for name, variable in self.network.variables.by_name.items():
            if variable.dtype.is_floating and not bool(tf.reduce_all(tf.math.is_finite(variable))):
                raise self.diverged(f"the weight {name} is not a number", iteration)
        self.checkpoints.save(iteration)

    def diverged(self, what: str, iteration: int) -> Diverged:
        """The run cannot go on."""
        last = self.checkpoints.latest()
        kept = f"; the last good checkpoint is {last}" if last else ""
        return Diverged(
            f"{what} at iteration {iteration}",
            hint=f"give a smaller `learning_rate=` or smaller weights{kept}",
        )
