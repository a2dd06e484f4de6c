"""The arithmetic of presets in NumPy: uint8 RGB images N×H×W×3 to a net's tensors and back.

`emit/image_signature.py` does the same in TensorFlow; `emit/image_parity.py` compares the two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from porter.errors import UnreadablePicture
from porter.imaging.geometry import Geometry
from porter.imaging.image_spec import ImageSpec
from porter.imaging.presets import Numbers, PixelEncoding, Preset

Array = npt.NDArray[Any]

MEDIAN_ROWS = 64
"""Rows of which medians are taken at once."""
YUV = np.array(
    [[0.299, 0.587, 0.114], [-0.14713, -0.28886, 0.436], [0.615, -0.51499, -0.10001]], np.float32
)
RGB = np.array([[1, 0, 1.13983], [1, -0.39465, -0.58060], [1, 2.03211, 0]], np.float32)
"""torch/image, generic/image.c: rgb2yuv and yuv2rgb, inverse to each other to three digits."""


def to_net(images: Array, spec: ImageSpec) -> Array:
    """The net's input for uint8 images: float32 N×H×W×C, padded by its border if necessary."""
    height, width = images.shape[1:3]
    rows, columns = (padding(size, spec) for size in (height, width))
    return levels_to_numbers(stretched(images, rows, columns), spec.preset.input)


def to_images(output: Array, images: Array, spec: ImageSpec) -> Array:
    """uint8 RGB images of the net's output (stored N×h×w×C, or flat in Torch's order).

    Raises UnreadablePicture for NaN or infinity.
    """
    if not np.isfinite(output).all():
        raise UnreadablePicture("the net makes numbers of this picture that are not finite")
    preset, side = spec.preset, spec.preset.output
    assert side is not None
    height, width = images.shape[1:3]
    if spec.geometry.flat:
        sizes = [output_size(size, spec) for size in (height, width)]
        output = output.reshape(-1, side.planes, *sizes).transpose(0, 2, 3, 1)
    rows, columns = visible_size(height, spec), visible_size(width, spec)
    levels = numbers_to_levels(output[:, :rows, :columns], side)
    if side.channels == "Y":
        levels = coloured(levels, images)
    levels = median(levels, preset.median_filter)
    image: Array = np.rint(np.clip(levels, 0, 255)).astype(np.uint8)
    return image


def probabilities(scores: Array, spec: ImageSpec) -> Array:
    """The probability of every class, N×classes."""
    flat = scores.reshape(-1, scores.shape[-1]).astype(np.float32)
    if not spec.softmax:
        return flat
    raised = np.exp(flat - flat.max(axis=-1, keepdims=True))
    shares: Array = raised / raised.sum(axis=-1, keepdims=True)
    return shares


# Sizes --------------------------------------------------------------------------------------------


def padding(size: int, spec: ImageSpec) -> tuple[int, int]:
    """How often the first and the last of `size` rows are repeated for the net."""
    geometry = spec.geometry
    if geometry.size is not None:
        return 0, 0
    before = lost(spec.preset, geometry)
    return before, before + -(size + 2 * before) % geometry.multiple


def lost(preset: Preset, geometry: Geometry) -> int:
    """Rows that the net loses at each side, if the preset replaces them."""
    return -(-geometry.margin // (2 * geometry.scale)) if preset.border == "replicate" else 0


def output_size(size: int, spec: ImageSpec) -> int:
    """The number of output rows for a photo of `size` rows."""
    geometry = spec.geometry
    return geometry.scale * (size + sum(padding(size, spec))) - geometry.margin


def visible_size(size: int, spec: ImageSpec) -> int | None:
    """The number of output rows that belong to the photo; None for all."""
    if padding(size, spec) == (0, 0):
        return None
    replaced = spec.preset.border == "replicate"
    return spec.geometry.scale * size - (0 if replaced else spec.geometry.margin)


def stretched(images: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    """Images padded by repeating the outermost rows and columns."""
    if rows == columns == (0, 0):
        return images
    return np.pad(images, ((0, 0), rows, columns, (0, 0)), mode="edge")


def fitted(images: Array, height: int, width: int) -> Array:
    """Images cropped to a height and width, or extended by the last row and column."""
    rows = np.minimum(np.arange(height), images.shape[1] - 1)
    columns = np.minimum(np.arange(width), images.shape[2] - 1)
    fitting: Array = images[:, rows][:, :, columns]
    return fitting


# Levels -------------------------------------------------------------------------------------------


def levels_to_numbers(images: Array, side: PixelEncoding) -> Array:
    """uint8 pixels as the net's input, in its channel order."""
    x = images.astype(np.float32) / np.float32(255)
    if side.channels == "BGR":
        x = x[..., ::-1]
    elif side.planes == 1:
        x = x @ YUV[:1].T
    low, high = side.range
    mean, std = as_float32(side.mean), as_float32(side.std)
    return np.ascontiguousarray((x * np.float32(high - low) + np.float32(low) - mean) / std)


def as_float32(numbers: Numbers) -> Array:
    """One number, or one per channel."""
    return np.asarray(numbers, np.float32)


def numbers_to_levels(output: Array, side: PixelEncoding) -> Array:
    """The net's output in 0…255, RGB or one plane, neither clipped nor rounded."""
    low, high = side.range
    levels = output * as_float32(side.std) + as_float32(side.mean)
    levels = (levels - np.float32(low)) * np.float32(255 / (high - low))
    if side.channels == "grey":
        return np.repeat(levels, 3, axis=-1)
    return levels[..., ::-1] if side.channels == "BGR" else levels


def coloured(luminance: Array, images: Array) -> Array:
    """Luminance in 0…255 with the colours of the photo, as waifu2x's reconstruct.image_y does."""
    fitting = fitted(images, *luminance.shape[1:3]).astype(np.float32)
    chroma = fitting @ YUV[1:].T
    return np.concatenate([np.clip(luminance, 0, 255), chroma], axis=-1) @ RGB.T


def median(levels: Array, window: int) -> Array:
    """The median of each window×window neighbourhood; the border without one is cropped.

    fast_neural_style/utils.lua: median_filter.
    """
    if window < 2:
        return levels
    windows: Any = np.lib.stride_tricks.sliding_window_view(levels, (window, window), axis=(1, 2))
    middle = np.empty(windows.shape[:4], np.float32)
    for first in range(0, middle.shape[1], MEDIAN_ROWS):  # all windows take window² the memory
        rows = windows[:, first : first + MEDIAN_ROWS]
        middle[:, first : first + MEDIAN_ROWS] = np.median(
            rows.reshape(*rows.shape[:4], -1), axis=-1
        )
    return middle
