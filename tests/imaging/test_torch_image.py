"""torch/image's arithmetic, against what it made."""

from __future__ import annotations

import numpy as np
import pytest

from porter.imaging import torch_image
from porter.imaging.photos import read_image
from porter.torch7 import Table, read
from tests.build import FIXTURES

TORCH: Table = read(FIXTURES / "pipelines" / "colourisation.t7").root
PHOTO = read_image(FIXTURES / "pipelines" / "photo.png").pixels.transpose(2, 0, 1) / np.float32(255)


@pytest.mark.parametrize("name", ["small", "large"])
def test_pictures_are_scaled_as_in_torch(name: str) -> None:
    expected = TORCH[name].array
    scaled = torch_image.scaled_bilinear(PHOTO, *expected.shape[1:])
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, expected, atol=2e-6)


def test_one_row_is_repeated() -> None:
    row = PHOTO[:, :1]
    scaled = torch_image.scaled_bilinear(row, 3, row.shape[2])
    np.testing.assert_array_equal(scaled, np.repeat(row, 3, axis=1))


def test_colours_are_converted_as_in_torch() -> None:
    lab = torch_image.rgb_to_lab(TORCH["small"].array)
    np.testing.assert_allclose(lab, TORCH["lab"].array, atol=1e-4)
    np.testing.assert_allclose(torch_image.lab_to_rgb(lab), TORCH["rgb"].array, atol=1e-5)


def test_colours_outside_of_srgb_stay_finite() -> None:
    colours = np.linspace(-1, 2, 27, dtype=np.float32).reshape(3, 3, 3)
    assert np.isfinite(torch_image.lab_to_rgb(torch_image.rgb_to_lab(colours))).all()
