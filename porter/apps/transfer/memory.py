"""Whether a transfer fits into memory, estimated before it starts."""

from __future__ import annotations

import math
from typing import Any

from porter.apps.transfer.descriptor import Descriptor
from porter.errors import OutOfMemory, ShapeMismatch
from porter.runtime import memory
from porter.system.tensorflow import tf

SIZES = (64, 256, 1024)
"""Sizes of the image on which a descriptor's memory is measured: the first that it bears."""
KINDS = ("Conv2D", "Relu", "LeakyRelu", "MaxPool", "AvgPool", "LRN", "BiasAdd", "ConcatV2", "Pad")
BASE = 700 * 2**20
"""Bytes of TensorFlow itself and of the images."""
PASSES = 2.0
"""Activations are kept for the gradient, and it has as many; see benchmarks/transfer.py."""


def per_pixel(descriptor: Descriptor) -> float:
    """Bytes that a descriptor's layers take for each pixel of an image.

    0 for converted folders and Keras models, whose layers stand in a function of their own.
    """
    for size in SIZES:
        spec = tf.TensorSpec((1, size, size, 3), descriptor.dtype)
        traced = tf.function(descriptor.__call__, input_signature=[spec], autograph=False)
        try:
            graph = traced.get_concrete_function().graph
        except (ShapeMismatch, ValueError):  # without padding, nothing is left of a small image
            continue
        return sum(sizes(graph)) * int(tf.as_dtype(descriptor.dtype).size) / size**2
    return 0.0


def sizes(graph: Any) -> list[int]:
    """Elements of every output of a graph's layers."""
    elements: list[int] = []
    for operation in graph.get_operations():
        if operation.type in KINDS:
            shapes = (output.shape for output in operation.outputs)
            elements += [math.prod(s) for s in shapes if s.is_fully_defined()]
    return elements


def needed(descriptor: Descriptor, height: int, width: int) -> int:
    """Approximate bytes that a transfer takes."""
    return int(BASE + PASSES * per_pixel(descriptor) * height * width)


def require(descriptor: Descriptor, height: int, width: int) -> None:
    """Raise OutOfMemory where a transfer at this size must run out of memory."""
    total, free = needed(descriptor, height, width), memory.available()
    if free is not None and total > free and not tf.config.list_physical_devices("GPU"):
        raise OutOfMemory(
            f"an image of {height}×{width} takes about {memory.gigabytes(total)} of memory",
            received=f"{memory.gigabytes(free)} are free",
            hint="make it smaller with `image_size=`",
        )
