"""Nets with really trained weights: same classes, same pictures as Torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from porter import torch7
from porter.emit.port import Port, build_widest
from porter.frontend.model_file import open_model
from porter.ir.fields import Array
from porter.ir.graph import TensorType
from porter.layer_maps import default_registry
from porter.parity.recording import as_arrays
from porter.runtime.runner import Variables

TRAINED = Path(__file__).resolve().parents[2] / "fixtures" / "trained"
DIGITS = TRAINED / "digits_lenet"
OILPAINT = TRAINED / "oilpaint"
TORCH_MEAN = np.array([103.939, 116.779, 123.68])
"""What texture_nets' outputs are relative to, in its order: blue, green, red."""


def tensor(path: Path) -> Array:
    array = as_arrays(torch7.read(path).root, path.name)
    assert isinstance(array, np.ndarray)
    return array


def port_of(path: Path, shape: tuple[int, ...]) -> Port:
    return build_widest(
        open_model(path, default_registry()).model(), TensorType(shape), Variables()
    )


def serve(port: Port, images: Array) -> Array:
    (output,) = port.module.serve(images).values()
    return np.asarray(output)


def test_all_digits_get_the_class_that_torch_gives_them() -> None:
    port = port_of(DIGITS / "model.t7", (2, 1, 8, 8))
    images, expected = tensor(DIGITS / "all_input.t7"), tensor(DIGITS / "all_output.t7")
    output = serve(port, np.moveaxis(images, 1, -1))
    assert len(images) == 1797
    assert np.array_equal(output.argmax(1), expected.argmax(1))
    assert np.abs(output - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.fixture(scope="module")
def oilpaint() -> Port:
    return port_of(OILPAINT / "model.t7", (2, 3, 40, 56))


@pytest.mark.parametrize("photo", ["chelsea", "coffee", "astronaut"])
def test_pictures_are_those_of_torch(oilpaint: Port, photo: str) -> None:
    """At most 0.01 % of the 8-bit channel values differ, by one level."""
    image = pytest.importorskip("PIL.Image")
    pixels = np.asarray(image.open(OILPAINT / f"{photo}.png").convert("RGB"))
    torch = np.asarray(image.open(OILPAINT / f"{photo}.torch.png").convert("RGB"))
    picture = serve(oilpaint, (pixels / 255.0).astype(np.float32)[None])[0]
    levels = np.clip(picture + TORCH_MEAN, 0, 255).round()[..., ::-1].astype(int)
    difference = np.abs(levels - torch)
    assert difference.max() <= 1
    assert np.count_nonzero(difference) <= 1e-4 * difference.size
