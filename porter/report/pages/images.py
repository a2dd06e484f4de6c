"""Arrays as images inside a page: PNG in a `data:` URL."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from porter.ir.fields import Array
from porter.parity.thumbnails import Strip, Thumbnail

VIRIDIS = ("#440154", "#21918c", "#fde725")
MAGMA = ("#000004", "#b73779", "#fcfdbf")


@dataclass(frozen=True)
class Picture:
    """A PNG with its name and its size in pixels."""

    name: str
    address: str
    width: int
    height: int


def strip_pictures(strip: Strip) -> list[Picture]:
    """Input, oracle, port and difference. Oracle and port share one scale."""
    both = np.stack([strip.expected, strip.computed])
    low, high = extent(both)
    return [
        coloured("input", scaled(strip.fed, *extent(strip.fed))),
        coloured("oracle", scaled(strip.expected, low, high)),
        coloured("TensorFlow", scaled(strip.computed, low, high)),
        mapped(f"difference (white: {strip.largest:.1e})", strip.difference, MAGMA),
    ]


def thumbnail_pictures(thumbnail: Thumbnail) -> list[Picture]:
    """The activation and, beside it, its error."""
    largest = float(np.nanmax(thumbnail.error))
    return [
        mapped("activation", thumbnail.expected, VIRIDIS),
        mapped(f"error (white: {largest:.1e})", thumbnail.error, MAGMA),
    ]


def extent(array: Array) -> tuple[float, float]:
    """Smallest and largest finite number."""
    finite = array[np.isfinite(array)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def scaled(array: Array, low: float, high: float) -> Array:
    """Scaled to 0 … 255; NaN becomes 0."""
    span = high - low or 1.0
    share = (np.nan_to_num(array, nan=low, posinf=high, neginf=low) - low) / span
    return (255 * share.clip(0, 1)).astype(np.uint8)


def coloured(name: str, pixels: Array) -> Picture:
    """An image of H×W×1 or H×W×3 bytes."""
    from PIL import Image

    image = Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
    return encoded(name, image)


def mapped(name: str, plane: Array, colours: tuple[str, str, str]) -> Picture:
    """An image of H×W numbers by a colour map."""
    from PIL import Image, ImageOps

    grey = Image.fromarray(scaled(plane, *extent(plane)))
    black, middle, white = colours
    return encoded(name, ImageOps.colorize(grey, black, white, middle))


def encoded(name: str, image: Any) -> Picture:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(name, f"data:image/png;base64,{text}", image.width, image.height)
