"""Pictures before and after a transfer: sizes, colours, the one to begin with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from porter.apps.transfer.recipe import Recipe
from porter.errors import UnreadablePicture, UsageError
from porter.imaging.photos import Photo, lanczos, read_photo
from porter.imaging.pixels import YUV, coloured

Array = npt.NDArray[Any]
Given = str | os.PathLike[str] | Array
"""A picture's file, or its levels: 8-bit H×W×3, H×W×4 or H×W."""

MIDDLE = 127.5


def opened(picture: Given, longest: int | None = None) -> Photo:
    """A picture of any mode as RGB, its longer side scaled to `longest` pixels.

    Raises UnreadablePicture, or UsageError for arrays that are no pictures.
    """
    if not isinstance(picture, np.ndarray):
        if not Path(picture).is_file():
            raise UsageError(f"there is no picture '{picture}'")
        return read_photo(Path(picture), longest)
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3):
        raise UsageError(
            "a picture is 8-bit levels H×W×3",
            received=f"{'×'.join(map(str, picture.shape))} of {picture.dtype}",
        )
    levels = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=-1)
    if levels.shape[-1] not in (3, 4) or 0 in levels.shape:
        raise UnreadablePicture(
            "a picture has three channels", received="×".join(map(str, picture.shape))
        )
    photo = Photo(levels[..., :3], levels[..., 3] if levels.shape[-1] == 4 else None)
    if longest is None:
        return photo
    factor = longest / max(photo.size)
    return Photo(scaled(photo.levels, factor), photo.alpha)


def scaled(levels: Array, factor: float) -> Array:
    """8-bit levels at another size, by Lanczos' filter."""
    height, width = (max(1, round(side * factor)) for side in levels.shape[:2])
    return levels if (height, width) == levels.shape[:2] else lanczos(levels, height, width)


def enlarged(picture: Array, height: int, width: int) -> Array:
    """Float levels at another size, plane by plane, not clipped."""
    if picture.shape[:2] == (height, width):
        return picture
    planes = [lanczos(picture[..., c].astype(np.float32), height, width) for c in range(3)]
    return np.stack(planes, axis=-1).astype(np.float64)


def prepared(content: Array, styles: Sequence[Array], colour: str) -> tuple[Array, list[Array]]:
    """Float pictures as they are compared: with the style's colours, the content's, or none.

    `luminance` compares brightness alone, the styles' fitted to the content's in mean and standard
    deviation; `match` gives the styles the content's colours, mean and covariance of RGB (Gatys et
    al., "Preserving Color in Neural Artistic Style Transfer", 2016, sections 3 and 4).
    """
    picture = content.astype(np.float64)
    paintings = [style.astype(np.float64) for style in styles]
    if colour == "luminance":
        grey = luminance(picture)
        return threefold(grey), [threefold(fitted(luminance(each), grey)) for each in paintings]
    if colour == "match":
        return picture, [np.clip(recoloured(each, picture), 0, 255) for each in paintings]
    return picture, paintings


def luminance(picture: Array) -> Array:
    """Brightness H×W of RGB levels."""
    brightness: Array = picture @ YUV[0].astype(np.float64)
    return brightness


def threefold(grey: Array) -> Array:
    """A grey picture in three equal planes."""
    return np.repeat(grey[..., None], 3, axis=-1)


def fitted(grey: Array, to: Array) -> Array:
    """`grey` with the mean and the standard deviation of `to`."""
    spread = grey.std() or 1.0
    moved: Array = (grey - grey.mean()) / spread * to.std() + to.mean()
    return moved


def recoloured(style: Array, content: Array) -> Array:
    """`style` with the content's mean and covariance of RGB, by symmetric square roots."""
    flat, wanted = style.reshape(-1, 3), content.reshape(-1, 3)
    change = root(covariance(wanted)) @ root(covariance(flat), inverse=True)
    moved: Array = (flat - flat.mean(0)) @ change.T + wanted.mean(0)
    return moved.reshape(style.shape)


def covariance(pixels: Array) -> Array:
    """Of RGB, kept off zero for pictures of one colour."""
    return np.cov(pixels, rowvar=False, bias=True) + 1e-3 * np.eye(3)


def root(matrix: Array, inverse: bool = False) -> Array:
    """The symmetric square root of a covariance, or that of its inverse."""
    values, axes = np.linalg.eigh(matrix)
    power = -0.5 if inverse else 0.5
    made: Array = (axes * values.clip(1e-9) ** power) @ axes.T
    return made


def beginning(recipe: Recipe, content: Array) -> Array:
    """The picture that is optimised first: the content, noise, or a picture of the user's."""
    if recipe.init == "content":
        return content.copy()
    if recipe.init == "noise":
        random = np.random.default_rng(recipe.seed)
        return MIDDLE + recipe.noise * random.standard_normal(content.shape)
    given = opened(recipe.init).levels.astype(np.float64)
    return enlarged(given, *content.shape[:2])


def finished(picture: Array, content: Array, colour: str) -> Array:
    """8-bit levels of a float picture; `content` are the 8-bit levels whose colours are kept."""
    if colour == "luminance":
        grey = luminance(picture)[None, ..., None].astype(np.float32)
        picture = coloured(grey, content[None])[0]
    levels: Array = np.rint(np.clip(picture, 0, 255)).astype(np.uint8)
    return levels
