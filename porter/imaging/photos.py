"""Read image files as uint8 RGB arrays, and write images to disk."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from porter.errors import UnreadablePicture, UsageError
from porter.system.atomic import write_bytes
from porter.system.input_files import require_file

if TYPE_CHECKING:
    from PIL import Image

Array = npt.NDArray[Any]

FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "AVIF": (".avif",),
}
"""Pillow's names of what is read, and how such files' names end. Pillow knows some forty formats
more, of which EPS would start Ghostscript."""
ENDINGS = frozenset(ending for endings in FORMATS.values() for ending in endings)
REFUSED = (
    (b"%PDF", "a PDF document"),
    (b"%!PS", "PostScript, which is a program"),
    (b"\xc5\xd0\xd3\xc6", "PostScript, which is a program"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an SVG drawing or another XML file"),
)
"""What is often taken for a photo, by how it begins."""
OPAQUE = (".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".pnm")
"""Formats without transparency."""
QUALITY = 95
"""The quality of JPEG and WebP files."""


def pillow() -> Any:
    """Pillow's modules, imported by those who use them."""
    import PIL.Image
    import PIL.ImageOps

    return PIL


@dataclass(frozen=True)
class Photo:
    """`pixels` is uint8 H×W×3, `alpha` H×W or None; `profile` is the ICC profile of an RGB file."""

    pixels: Array
    alpha: Array | None = None
    profile: bytes | None = None
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]


def read_image(path: Path, longest: int | None = None) -> Photo:
    """A photo as a viewer shows it: rotated by its EXIF tag, 16 bits rounded to 8.

    `longest` scales it (Lanczos) so that its longer side has that many pixels. Raises
    UnreadablePicture for a file that is not an image, damaged or too large.
    """
    pil = pillow()
    require_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pil.Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning)
            with pil.Image.open(path, formats=supported(pil)) as opened:
                frames = getattr(opened, "n_frames", 1)
                turned = pil.ImageOps.exif_transpose(opened)
                turned.load()
    except (pil.Image.DecompressionBombError, pil.Image.DecompressionBombWarning) as error:
        raise UnreadablePicture(
            f"the picture has more than {pil.Image.MAX_IMAGE_PIXELS:,} pixels",
            where=str(path),
            hint="make it smaller in an image editor: files this large are mostly attacks",
        ) from error
    except pil.UnidentifiedImageError as error:
        raise unknown_format(path) from error
    except Exception as error:  # each of Pillow's decoders raises errors of its own
        raise UnreadablePicture(
            "the picture cannot be read", where=str(path), received=str(error) or None
        ) from error
    notes = (f"the first of {frames} frames",) if frames > 1 else ()
    return scaled(as_photo(turned, str(path), notes), longest)


def scaled(photo: Photo, longest: int | None) -> Photo:
    """A photo whose longer side has `longest` pixels; None keeps its size."""
    if longest is None:
        return photo
    factor = longest / max(photo.size)
    height, width = (max(1, round(side * factor)) for side in photo.size)
    return resized(photo, height, width)


def supported(pil: Any) -> list[str]:
    """The formats that are read and that this Pillow has."""
    pil.Image.init()
    return [name for name in FORMATS if name in pil.Image.OPEN]


def unknown_format(path: Path) -> UnreadablePicture:
    """The error of a file in none of the formats."""
    with path.open("rb") as file:
        start = file.read(16)
    kind = next((kind for magic, kind in REFUSED if start.startswith(magic)), None)
    return UnreadablePicture(
        f"this is {kind}, and no picture" if kind else "this is no picture in a known format",
        where=str(path),
        hint="save it as one of " + ", ".join(FORMATS),
    )


def resized(photo: Photo, height: int, width: int) -> Photo:
    """A photo resized with the Lanczos filter."""
    alpha = None if photo.alpha is None else lanczos(photo.alpha, height, width)
    return replace(photo, pixels=lanczos(photo.pixels, height, width), alpha=alpha)


def lanczos(pixels: Array, height: int, width: int) -> Array:
    """A uint8 array resized with the Lanczos filter."""
    image = pillow().Image
    scaled = image.fromarray(pixels).resize((width, height), image.Resampling.LANCZOS)
    return np.asarray(scaled)


def has_alpha(picture: Image.Image) -> bool:
    """Whether the image has an alpha channel or a transparent colour."""
    return "A" in picture.getbands() or "transparency" in picture.info


def as_photo(picture: Image.Image, where: str, notes: tuple[str, ...] = ()) -> Photo:
    """An image in any of Pillow's modes as uint8 RGB and alpha."""
    if picture.mode.startswith(("I", "F")):
        grey = to_eight_bits(np.asarray(picture), where)
        return Photo(np.repeat(grey[..., None], 3, axis=-1), None, None, notes)
    profile = picture.info.get("icc_profile") if picture.mode in ("RGB", "RGBA") else None
    if not has_alpha(picture):
        return Photo(np.asarray(picture.convert("RGB")), None, profile, notes)
    whole = np.asarray(picture.convert("RGBA"))
    return Photo(whole[..., :3], whole[..., 3], profile, notes)


def to_eight_bits(grey: Array, where: str) -> Array:
    """16-bit values as 8-bit ones. Raises UnreadablePicture where the range is not defined."""
    low, high = float(grey.min()), float(grey.max())
    if np.issubdtype(grey.dtype, np.floating) or low < 0 or high > 65535:
        raise UnreadablePicture(
            "the picture's numbers are neither 8 nor 16 bits: their white is not known",
            where=where,
            received=f"{grey.dtype} between {low:g} and {high:g}",
        )
    return np.rint(grey / 257).astype(np.uint8)


def write_image(path: Path, pixels: Array, photo: Photo) -> None:
    """Write an image, atomically, with the photo's transparency and colour profile.

    Raises EmitError where it cannot be written, UsageError for an unknown file extension.
    """
    pil = pillow()
    picture = pil.Image.fromarray(pixels)
    if photo.alpha is not None and path.suffix.lower() not in OPAQUE:
        alpha = fitted_alpha(photo.alpha, *pixels.shape[:2])
        picture.putalpha(pil.Image.fromarray(alpha))
    options: dict[str, Any] = {"icc_profile": photo.profile} if photo.profile else {}
    kind = format_of(path)
    if kind in ("JPEG", "WEBP"):
        options |= {"quality": QUALITY}
    if kind == "JPEG":
        options |= {"subsampling": 0}
    content = io.BytesIO()
    picture.save(content, kind, **options)
    write_bytes(path, content.getvalue())


def format_of(path: Path) -> str:
    """Pillow's name for the format that a file name's extension means. Raises UsageError."""
    pil = pillow()
    extensions: dict[str, str] = pil.Image.registered_extensions()
    kind = extensions.get(path.suffix.lower())
    if kind is None or kind not in pil.Image.SAVE:
        raise UsageError(
            f"{path.name} names no picture format that can be written",
            hint="end the name in .png (exact), .jpg, .webp or .tif",
        )
    return kind


def fitted_alpha(alpha: Array, height: int, width: int) -> Array:
    """Transparency at the image's size: enlarged with it, or cropped or extended at its edge."""
    if min(height / alpha.shape[0], width / alpha.shape[1]) >= 2:
        return lanczos(alpha, height, width)
    above, left = (max(0, (a - b) // 2) for a, b in zip(alpha.shape, (height, width), strict=True))
    rows = np.minimum(np.arange(height) + above, alpha.shape[0] - 1)
    columns = np.minimum(np.arange(width) + left, alpha.shape[1] - 1)
    return np.ascontiguousarray(alpha[rows][:, columns])


def strip(photo: Array, result: Array) -> Array:
    """Photo and result side by side, divided by a white line, the lower one padded with white."""
    height = max(photo.shape[0], result.shape[0])
    parts = [
        np.pad(each, ((0, height - each.shape[0]), (0, 0), (0, 0)), constant_values=255)
        for each in (photo, result)
    ]
    line = np.full((height, 8, 3), 255, np.uint8)
    return np.concatenate([parts[0], line, parts[1]], axis=1)
