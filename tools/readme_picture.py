"""Make docs/pictures/oilpaint.png: photo, Torch's picture, the port's, and their difference.

    python tools/readme_picture.py [OUTPUT]

The net and Torch7's own picture are fixtures; the port's picture is made here and now.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from porter.apps.stylize.loading import LoadOptions, open_net
from porter.apps.stylize.stylize import run
from porter.imaging.photos import Photo, read_image, write_image
from porter.imaging.pixels import Array

HOME = Path(__file__).resolve().parent.parent
FIXTURE = HOME / "fixtures" / "trained" / "oilpaint"
OUTPUT = HOME / "docs" / "pictures" / "oilpaint.png"
PHOTO = "chelsea"
CROP = (slice(0, 300), slice(70, 370))
"""Rows and columns that are shown: the cat's face."""
TIMES = 255
"""So that a difference of one level of 255 is as bright as can be."""
SPOT = 5
"""Side of the square that stands for a pixel that differs: a single one is hardly seen."""
GAP, CAPTION, TEXT = 8, 52, 19
"""Pixels between the pictures, height of the captions, size of the first line."""


def main(output: Path = OUTPUT) -> None:
    photo = read_image(FIXTURE / f"{PHOTO}.png").pixels
    torch = read_image(FIXTURE / f"{PHOTO}.torch.png").pixels
    net, spec = open_net(FIXTURE / "model.t7", LoadOptions())
    (port,) = run(net, spec, photo[None], 1)
    apart = np.abs(port.astype(int) - torch)
    detail = f"{np.count_nonzero(apart)} of {apart.size:,} values, by {apart.max()}; spots enlarged"
    pictures = [
        (photo, "photo", ""),
        (torch, "Torch7", "2017, LuaJIT"),
        (port, "TensorFlow", "converted by porter"),
        (spots(apart), f"difference, {TIMES} times", detail),
    ]
    sheet = contact_sheet([(each[CROP], *captions) for each, *captions in pictures])
    output.parent.mkdir(parents=True, exist_ok=True)
    write_image(output, sheet, Photo(sheet))


def spots(apart: Array) -> Array:
    """The largest difference of each pixel's channels, amplified, each pixel a square of SPOT."""
    bright = np.clip(apart.max(axis=-1) * TIMES, 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(bright).filter(ImageFilter.MaxFilter(SPOT)).convert("RGB"))


def contact_sheet(pictures: list[tuple[Array, str, str]]) -> Array:
    """Pictures of one size in a row, each above its two lines of caption."""
    height, width = pictures[0][0].shape[:2]
    total = len(pictures) * (width + GAP) - GAP
    sheet = Image.new("RGB", (total, height + CAPTION), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (levels, title, detail) in enumerate(pictures):
        left = place * (width + GAP)
        sheet.paste(Image.fromarray(np.ascontiguousarray(levels)), (left, 0))
        middle = left + width // 2
        for text, size, top in ((title, TEXT, 4), (detail, TEXT - 3, 28)):
            font = ImageFont.load_default(size)
            draw.text((middle, height + top), text, "black", font, anchor="ma")
    return np.asarray(sheet)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
