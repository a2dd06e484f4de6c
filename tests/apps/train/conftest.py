"""What the tests train with: a few noisy photos, a style, a descriptor of random filters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from porter.apps.train.options import TrainOptions

SIZE = 32

Make = Callable[..., TrainOptions]


def picture(path: Path, height: int, width: int, seed: int) -> Path:
    """A photo of soft blobs."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


def size_of(file: Path) -> tuple[int, int]:
    """Width and height of a picture."""
    with Image.open(file) as opened:
        return opened.size


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train/ and val/, nested once more. Do not write into it."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(4):
        picture(folder / "train" / "dummy" / f"{number}.png", 40 + number, 52, number)
    picture(folder / "val" / "dummy" / "v.png", 40, 40, 9)
    return folder


@pytest.fixture(scope="session")
def style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A style picture, 48×40."""
    return picture(tmp_path_factory.mktemp("style") / "style.png", 48, 40, 77)


@pytest.fixture(scope="session")
def descriptor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four layers of VGG's names with random filters."""
    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for name, planes, outputs in (("1_1", 3, 6), ("1_2", 6, 6), ("2_1", 6, 8), ("2_2", 8, 8)):
        scale = np.sqrt(2 / (9 * planes))
        filters = random.standard_normal((3, 3, planes, outputs)) * scale
        arrays[f"conv{name}_W"] = filters.astype(np.float32)
        arrays[f"conv{name}_b"] = np.zeros(outputs, np.float32)
    file = tmp_path_factory.mktemp("descriptor") / "vgg.npz"
    np.savez(file, **arrays)
    return file


@pytest.fixture
def options(photos: Path, style: Path, descriptor: Path, tmp_path: Path) -> Make:
    """Options of a run that takes seconds; keywords change some of them."""

    def make(**changed: Any) -> TrainOptions:
        small = {
            "style_image": style,
            "descriptor": descriptor,
            "output": tmp_path / "run",
            "data": photos,
            "model": "johnson",
            "slim": 16,
            "image_size": SIZE,
            "style_size": 0,
            "style_layers": "relu1_1,relu2_1",
            "content_layers": "relu2_2",
            "num_iterations": 6,
            "save_every": 3,
            "sample_every": 0,
            "nThreads": 2,
        }
        return TrainOptions(**(small | changed))

    return make
