"""Small images of activations, which a report keeps after the activations are freed."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np

from porter.ir.fields import Array
from porter.ir.nested import Nested, leaves
from porter.parity.measure import Measure

SIDE = 64
"""Largest height and width of a layer's thumbnail."""
IMAGE_SIDE = 128
"""Largest height and width of an image that a net takes or makes."""
PHOTOGRAPH = "photograph"
"""How the label of a picture's report begins that is shown in place of those of noise."""
KEPT = 6
"""How many layers of one input keep a thumbnail: those with the largest errors."""


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """The plane of an activation in which the error is largest, at most SIDE × SIDE.

    `expected` is what the oracle says (averages), `error` the absolute difference of the port
    (maxima, so that a single wrong pixel is not lost); `place` names sample and plane.
    """

    expected: Array
    error: Array
    place: str


@dataclass(frozen=True, eq=False)
class Strip:
    """Input and outputs of an image net, H×W×C; the difference is H×W.

    `largest` is the largest absolute difference, in the units of the output.
    """

    fed: Array
    expected: Array
    computed: Array
    difference: Array
    largest: float


@dataclass
class Worst:
    """Thumbnails of the few layers with the largest errors so far: bounded memory."""

    kept: int = KEPT
    found: dict[Hashable, tuple[float, Thumbnail]] = field(default_factory=dict)

    def offer(self, key: Hashable, measure: Measure, expected: Array, computed: Array) -> None:
        """Keep a thumbnail of this layer if its error is among the largest."""
        error = measure.max_rel
        if expected.shape != computed.shape or not expected.size or not error > 0:
            return
        if len(self.found) >= self.kept:
            least = min(self.found, key=lambda each: self.found[each][0])
            if error <= self.found[least][0]:
                return
            del self.found[least]
        self.found[key] = (error, thumbnail(expected, computed, measure.worst_index))

    def get(self, key: Hashable) -> Thumbnail | None:
        """The thumbnail of a layer, if it has one."""
        entry = self.found.get(key)
        return None if entry is None else entry[1]


def thumbnail(expected: Array, computed: Array, worst: tuple[int, ...] = ()) -> Thumbnail:
    """Both activations have the same shape, in Torch's order; vectors are folded to a square.

    `worst` is the place of the largest error, looked for where it is not told.
    """
    rank = expected.ndim
    if not worst:
        error = np.nan_to_num(np.abs(expected.astype(np.float64) - computed), nan=np.inf)
        worst = tuple(map(int, np.unravel_index(int(np.argmax(error)), error.shape)))
    depth = max(rank - 2, 0) if rank > 2 else max(rank - 1, 0)
    leading = worst[:depth]
    plane = np.asarray(expected[leading], np.float64)
    names = ("sample", "plane") if depth == 2 else ("sample", "plane", "frame")
    place = ", ".join(f"{name} {index + 1}" for name, index in zip(names, leading, strict=False))
    return Thumbnail(
        shrink(folded(plane), SIDE, np.add),
        shrink(folded(np.abs(plane - computed[leading])), SIDE, np.maximum),
        place,
    )


def folded(plane: Array) -> Array:
    """A plane as it is; a vector in rows of nearly a square, the rest NaN."""
    if plane.ndim == 2:
        return plane
    vector = plane.reshape(-1)
    width = int(np.ceil(np.sqrt(vector.size)))
    square = np.full((-(-vector.size // width), width), np.nan)
    square.reshape(-1)[: vector.size] = vector
    return square


def shrink(plane: Array, side: int, reduction: np.ufunc) -> Array:
    """H×W or H×W×C reduced block by block to at most `side` × `side`; np.add gives averages."""
    counts = np.ones((1,) * plane.ndim)
    for axis in (0, 1):
        n = plane.shape[axis]
        if n <= side:
            continue
        edges = np.linspace(0, n, side, endpoint=False).astype(int)
        plane = reduction.reduceat(plane, edges, axis)
        extent = [1] * plane.ndim
        extent[axis] = side
        counts = counts * np.diff([*edges, n]).reshape(extent)
    small = plane / counts if reduction is np.add else plane
    with np.errstate(over="ignore"):
        return small.astype(np.float32)


def strip(fed: Nested[Array], expected: Nested[Array], computed: Nested[Array]) -> Strip | None:
    """The first sample of a net that turns one image into one of 1 or 3 planes; else None."""
    images: list[Array] = []
    for nested in (fed, expected, computed):
        arrays = list(leaves(nested))
        image = as_image(arrays[0]) if len(arrays) == 1 else None
        if image is None:
            return None
        images.append(image)
    fed_image, expected_image, computed_image = images
    if expected_image.shape != computed_image.shape:
        return None
    difference = np.abs(expected_image.astype(np.float64) - computed_image).max(axis=-1)
    return Strip(
        shrink(fed_image, IMAGE_SIDE, np.add),
        shrink(expected_image, IMAGE_SIDE, np.add),
        shrink(computed_image, IMAGE_SIDE, np.add),
        shrink(difference, IMAGE_SIDE, np.maximum),
        float(difference.max()),
    )


def as_image(array: Array) -> Array | None:
    """The first sample of N×C×H×W or C×H×W as H×W×C, where it can be shown as an image."""
    if array.ndim == 4 and len(array):
        array = array[0]
    if array.ndim != 3 or array.shape[0] not in (1, 3) or min(array.shape[1:]) < 4:
        return None
    return np.moveaxis(array, 0, -1)
