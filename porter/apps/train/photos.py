"""Which photos a run learns from, and the crop that is its sample number n.

A sample is a function of the seed and its number alone: which photo, and where it is cut. So a run
that is continued at any iteration, or shared out to any number of machines, sees the same samples,
and no state of the order has to be kept. As in texture_nets photos are drawn with replacement and
cut at random without scaling; photos smaller than the crop are left out.

Source: texture_nets dataloader.lua, datasets/style.lua, datasets/transforms.lua (RandomCrop).
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock

import numpy as np

from porter.errors import PorterError, UsageError
from porter.imaging.files import photos_in
from porter.imaging.photos import read_image
from porter.ir.fields import Array

TRIES = 1_000
"""Photos that are tried for one sample before the run fails."""
MAX_BYTES = 2**29
"""Of decoded photos kept in memory: small collections are read once, large ones from the disk."""


class PhotoFolder:
    """Photos of one folder, cropped to `size`×`size`; `skipped` tells why some cannot be used.

    Safe to be used by several threads.
    """

    def __init__(self, files: list[Path], size: int, seed: int) -> None:
        self.files = files
        self.size = size
        self.seed = seed
        self.skipped: dict[Path, str] = {}
        self.kept: dict[Path, Array] = {}
        self.lock = Lock()

    def crop(self, number: int) -> Array:
        """Sample `number`: uint8, size×size×3, RGB. Raises UsageError if no photo can be used."""
        random = np.random.Generator(np.random.Philox(key=(self.seed << 64) + number))
        for _ in range(TRIES):
            pixels = self.pixels(self.files[random.integers(len(self.files))])
            places = random.random(2)
            if pixels is not None:
                room = np.array(pixels.shape[:2]) - self.size + 1
                top, left = (places * room).astype(int)
                return pixels[top : top + self.size, left : left + self.size]
            if len(self.skipped) == len(self.files):
                break
        reasons = sorted(set(self.skipped.values()))
        raise UsageError(
            f"none of the {len(self.files)} images can be used",
            received="; ".join(reasons[:4]),
            hint="give larger images, or a smaller `image_size=`",
        )

    def pixels(self, file: Path) -> Array | None:
        """A photo H×W×3 in uint8, or None, noted in `skipped`."""
        if file in self.skipped:
            return None
        if file in self.kept:
            return self.kept[file]
        try:
            pixels = read_image(file).pixels
        except PorterError as error:
            self.skip(file, error.message)
            return None
        if min(pixels.shape[:2]) < self.size:
            self.skip(file, f"smaller than the crop of {self.size}×{self.size}")
            return None
        self.keep(file, pixels)
        return pixels

    def keep(self, file: Path, pixels: Array) -> None:
        """Keep a decoded photo, as long as there is room."""
        with self.lock:
            if sum(each.nbytes for each in self.kept.values()) + pixels.nbytes <= MAX_BYTES:
                self.kept[file] = pixels

    def skip(self, file: Path, why: str) -> None:
        """Note that a photo cannot be used."""
        with self.lock:
            self.skipped[file] = why


def photo_files(folder: Path, part: str = "train") -> list[Path]:
    """Photos below `folder/part`, or below `folder` where there is no such part, at any depth.

    Raises UsageError for a folder without images.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder '{folder}'", hint="`data=` names a folder of photos")
    chosen = folder / part if (folder / part).is_dir() else folder
    files = photos_in(chosen)
    if not files:
        raise UsageError(
            f"there is no image in {chosen}",
            hint="photos may lie in nested folders; their names end in .jpg, .png and the like",
        )
    return files
