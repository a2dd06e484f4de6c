"""The sizes that are tried where a model does not tell what it takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from porter.ir.graph import INT, TensorType

SMALL_SIZES = (
    *((37, 53), (44, 34), (40, 56), (36, 52), (32, 48)),
    *((48, 64), (64, 96), (96, 64), (128, 160), (64, 128), (128, 64)),
)
"""Heights and widths tried first: different from each other, odd and even where the net allows.

On odd images alone a stride of 2 hides whether windows are rounded up or down and on which side
they are padded.
"""
TINY_SIZES = ((5, 7), (6, 4), (3, 2))
"""For nets that make a large image of a small one: as odd and even, as different."""
TINY_VOLUMES = ((1, 2, 3), (2, 1, 2))
"""Depths, heights and widths for nets that make a large volume of a small one."""
FIXED_SIZES = (
    *(224, 227, 256, 128, 96, 64, 32, 28, 84, 299, 231, 221, 416, 448, 512),
    *(16, 20, 48, 80, 112, 160, 192, 320),
)
"""Square sizes that published nets were made for."""
FIXED_VOLUMES = (
    (16, 112, 112),
    *((frames, 58, 58) for frames in (20, 40, 60, 80, 100)),
    (32, 64, 64),
    *((frames, 71, 71) for frames in (20, 40, 60, 80, 100)),
    *((edge, edge, edge) for edge in (64, 32, 30, 24, 16)),
)
"""Depths, heights and widths that published nets were made for: C3D, LTC, VideoGAN, voxels."""
MAX_SIZE = 640
MAX_PADDED = 300
"""How many features more or fewer than the first known layer takes are tried."""


def squares(sizes: Iterable[int]) -> list[tuple[int, int]]:
    """Heights equal to widths."""
    return [(size, size) for size in sizes]


def rare_sizes(thorough: bool) -> list[tuple[int, int]]:
    """What to try when no ordinary size fits; `thorough` where the planes are surely right."""
    return squares([*range(8, MAX_SIZE + 1, 8), *(range(1, MAX_SIZE + 1) if thorough else ())])


def image(planes: int, size: tuple[int, int], batch: int = 2) -> TensorType:
    """The type of some images."""
    return TensorType((batch, planes, *size))


def others(hint: TensorType) -> Iterator[TensorType]:
    """Types to try for inputs that are no images, from short to long."""
    free = [axis for axis, size in enumerate(hint.shape) if size is None and axis > 0]
    for size in (7, 9, 12, 16, 20, 24, 32, 33, 48, 64, *range(1, 300)):
        shape = [
            2 if axis == 0 and extent is None else extent for axis, extent in enumerate(hint.shape)
        ]
        for step, axis in enumerate(free):
            shape[axis] = size + 2 * step
        yield replace(hint, shape=tuple(shape))
        if len(free) > 1:
            for axis in free:
                shape[axis] = size
            yield replace(hint, shape=tuple(shape))
        if not free:
            return


def near_widths(hint: TensorType) -> Iterator[TensorType]:
    """Types with more or fewer features than a layer takes that may not be the first: nn.Padding
    in front of it adds some, nn.Narrow leaves some out.
    """
    features = hint.shape[-1]
    if hint.rank != 2 or hint.dtype == INT or features is None:
        return
    for more in range(1, MAX_PADDED + 1):
        for width in (features - more, features + more):
            if width > 0:
                yield replace(hint, shape=(2, width))
