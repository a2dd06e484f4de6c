"""Images before and after a transfer: sizes, colours, the one to begin with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from porter.apps.transfer.recipe import Recipe
from porter.errors import UnreadablePicture, UsageError
from porter.imaging.photos import Photo, lanczos, read_image
from porter.imaging.pixels import YUV, coloured

Array = npt.NDArray[Any]
ImageInput = str | os.PathLike[str] | Array
"""An image file, or a uint8 array H×W×3, H×W×4 or H×W."""

MID_GREY = 127.5


def open_image(image: ImageInput, longest: int | None = None) -> Photo:
    """An image of any mode as RGB, its longer side scaled to `longest` pixels.

    Raises UnreadablePicture, or UsageError for arrays that are not images.
    """
    if not isinstance(image, np.ndarray):
        if not Path(image).is_file():
            raise UsageError(f"there is no image '{image}'")
        return read_image(Path(image), longest)
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise UsageError(
            "an image is a uint8 array H×W×3",
            received=f"{'×'.join(map(str, image.shape))} of {image.dtype}",
        )
    pixels = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)
    if pixels.shape[-1] not in (3, 4) or 0 in pixels.shape:
        raise UnreadablePicture(
            "an image has three channels", received="×".join(map(str, image.shape))
        )
    photo = Photo(pixels[..., :3], pixels[..., 3] if pixels.shape[-1] == 4 else None)
    if longest is None:
        return photo
    factor = longest / max(photo.size)
    return Photo(scaled(photo.pixels, factor), photo.alpha)


def scaled(image: Array, factor: float) -> Array:
    """A uint8 image at another size, by Lanczos' filter."""
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    return image if (height, width) == image.shape[:2] else lanczos(image, height, width)


def resized(image: Array, height: int, width: int) -> Array:
    """A float image at another size, plane by plane, not clipped."""
    if image.shape[:2] == (height, width):
        return image
    planes = [lanczos(image[..., c].astype(np.float32), height, width) for c in range(3)]
    return np.stack(planes, axis=-1).astype(np.float64)


def prepared(content: Array, styles: Sequence[Array], colour: str) -> tuple[Array, list[Array]]:
    """Float images as they are compared: with the style's colours, the content's, or none.

    `luminance` compares brightness alone, the styles' fitted to the content's in mean and standard
    deviation; `match` gives the styles the content's colours, mean and covariance of RGB (Gatys et
    al., "Preserving Color in Neural Artistic Style Transfer", 2016, sections 3 and 4).
    """
    image = content.astype(np.float64)
    paintings = [style.astype(np.float64) for style in styles]
    if colour == "luminance":
        grey = luminance(image)
        return threefold(grey), [threefold(fitted(luminance(each), grey)) for each in paintings]
    if colour == "match":
        return image, [np.clip(recoloured(each, image), 0, 255) for each in paintings]
    return image, paintings


def luminance(image: Array) -> Array:
    """Brightness H×W of RGB."""
    brightness: Array = image @ YUV[0].astype(np.float64)
    return brightness


def threefold(grey: Array) -> Array:
    """A grey image in three equal planes."""
    return np.repeat(grey[..., None], 3, axis=-1)


def fitted(grey: Array, to: Array) -> Array:
    """`grey` with the mean and the standard deviation of `to`."""
    spread = grey.std() or 1.0
    moved: Array = (grey - grey.mean()) / spread * to.std() + to.mean()
    return moved


def recoloured(style: Array, content: Array) -> Array:
    """`style` with the content's mean and covariance of RGB, by symmetric square roots."""
    source, target = style.reshape(-1, 3), content.reshape(-1, 3)
    change = square_root(covariance(target)) @ square_root(covariance(source), inverse=True)
    recolored: Array = (source - source.mean(0)) @ change.T + target.mean(0)
    return recolored.reshape(style.shape)


def covariance(pixels: Array) -> Array:
    """Covariance 3×3 of RGB, kept off zero for images of one colour."""
    return np.cov(pixels, rowvar=False, bias=True) + 1e-3 * np.eye(3)


def square_root(matrix: Array, inverse: bool = False) -> Array:
    """The symmetric square root of a covariance, or that of its inverse."""
    values, axes = np.linalg.eigh(matrix)
    power = -0.5 if inverse else 0.5
    result: Array = (axes * values.clip(1e-9) ** power) @ axes.T
    return result


def initial_image(recipe: Recipe, content: Array) -> Array:
    """The image that is optimised first: the content, noise, or the user's image."""
    if recipe.init == "content":
        return content.copy()
    if recipe.init == "noise":
        random = np.random.default_rng(recipe.seed)
        return MID_GREY + recipe.noise * random.standard_normal(content.shape)
    start = open_image(recipe.init).pixels.astype(np.float64)
    return resized(start, *content.shape[:2])


def final_image(image: Array, content: Array, colour: str) -> Array:
    """A float image as uint8; `content` is the uint8 image whose colours may be kept."""
    if colour == "luminance":
        grey = luminance(image)[None, ..., None].astype(np.float32)
        image = coloured(grey, content[None])[0]
    return to_uint8(image)


def to_uint8(image: Any) -> Array:
    """A float image in 0…255, clipped and rounded."""
    pixels: Array = np.rint(np.clip(np.asarray(image), 0, 255)).astype(np.uint8)
    return pixels
