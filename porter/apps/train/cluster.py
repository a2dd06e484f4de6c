"""Who trains: one device, all GPUs of a machine, or several machines that TF_CONFIG names.

TensorFlow's own strategies do the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from porter.errors import PorterError, UsageError, WorkerLost
from porter.system.tensorflow import tf
from porter.system.tf_config import task

LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)
"""What TensorFlow raises when another worker is gone."""


@dataclass(frozen=True)
class Cluster:
    """This process's place among `workers`; worker 0 keeps, shows and writes."""

    strategy: Any
    worker: int = 0
    workers: int = 1

    @property
    def is_chief(self) -> bool:
        return self.worker == 0

    def explained(self, error: Exception, iteration: int) -> PorterError:
        """What TensorFlow raised in an iteration, for people."""
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        if self.workers > 1 and isinstance(error, LOST):
            return WorkerLost(
                f"another worker is gone at iteration {iteration}",
                received=first,
                hint="start the same command again on every worker: "
                "all go on from the last checkpoint",
            )
        if isinstance(error, tf.errors.ResourceExhaustedError):
            return UsageError(
                "the net and its gradients do not fit into memory",
                received=first,
                hint="give a smaller `batch_size=` or `image_size=`",
            )
        return UsageError(f"iteration {iteration} failed", received=first)


def cluster() -> Cluster:
    """The cluster that TF_CONFIG describes, or this machine. Call it before anything is computed.

    Raises UsageError for a malformed TF_CONFIG.
    """
    assigned = task()
    if assigned is None:
        several = len(tf.config.list_physical_devices("GPU")) > 1
        return Cluster(
            tf.distribute.MirroredStrategy() if several else tf.distribute.get_strategy()
        )
    index, workers = assigned
    if workers == 1:
        return Cluster(tf.distribute.get_strategy())
    return Cluster(tf.distribute.MultiWorkerMirroredStrategy(), index, workers)
