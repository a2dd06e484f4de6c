"""Samples in batches by tf.data, for one machine or for a share of many.

Sample numbers of iteration i are i·batch … i·batch + batch - 1; replica r of R gets the r-th R-th
of them. Whatever the number of machines, the samples of one iteration are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from porter.apps.train.photos import PhotoFolder
from porter.errors import UsageError
from porter.ir.fields import Array
from porter.system.tensorflow import tf


@dataclass(frozen=True)
class Share:
    """What one worker feeds: replicas `first` … of `replicas` in all, `local` of them its own."""

    replicas: int = 1
    local: int = 1
    first: int = 0

    def numbers(self, element: int, batch: int) -> range:
        """Sample numbers of one replica's batch: elements are dealt to the own replicas in turn."""
        iteration, replica = divmod(element, self.local)
        each = batch // self.replicas
        start = iteration * batch + (self.first + replica) * each
        return range(start, start + each)


def samples(
    photos: PhotoFolder | None,
    size: int,
    batch: int,
    share: Share,
    iterations: range,
    threads: int,
) -> tf.data.Dataset:
    """Batches of a worker's replicas, uint8 n×size×size×3, one iteration after the other.

    Without photos (textures are made of noise) they are black.
    """
    each = batch // share.replicas

    def crops(element: Array) -> Array:
        if photos is None:
            return np.zeros((each, size, size, 3), np.uint8)
        return np.stack([photos.crop(n) for n in share.numbers(int(element), batch)])

    def batched(element: tf.Tensor) -> tf.Tensor:
        batch_of_crops = tf.numpy_function(crops, [element], tf.uint8, stateful=False)
        return tf.ensure_shape(batch_of_crops, [each, size, size, 3])

    elements = tf.data.Dataset.range(iterations.start * share.local, iterations.stop * share.local)
    return elements.map(batched, num_parallel_calls=threads, deterministic=True).prefetch(
        tf.data.AUTOTUNE
    )


def require_divisible(batch: int, replicas: int) -> None:
    """Raise UsageError where the batch cannot be shared out evenly."""
    if batch % replicas:
        raise UsageError(
            f"`batch_size={batch}` cannot be shared out among {replicas} replicas",
            hint=f"give a multiple of {replicas}",
        )
