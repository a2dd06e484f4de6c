"""The arithmetic of presets, in NumPy and the same in TensorFlow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from porter.errors import UnreadablePicture
from porter.imaging.geometry import Geometry
from porter.imaging.image_spec import ImageSpec
from porter.imaging.pixels import Array, levels_to_numbers, median, to_images, to_net
from porter.imaging.presets import BUILT_IN, PixelEncoding, Preset

PICTURES = [preset for preset in BUILT_IN.values() if preset.output is not None]


def levels(*shape: int) -> Array:
    """Seeded 8-bit pictures."""
    return np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)


def spec(preset: Preset, **geometry: int) -> ImageSpec:
    return ImageSpec(preset, Geometry(**geometry), "asked for")


def test_numbers_by_hand() -> None:
    pixel = np.array([[[[255, 0, 51]]]], np.uint8)
    vgg, torch = BUILT_IN["imagenet-caffe"].input, BUILT_IN["imagenet-torch"].input
    np.testing.assert_allclose(
        levels_to_numbers(pixel, vgg).ravel(), [51 - 103.939, 0 - 116.779, 255 - 123.68], rtol=1e-6
    )
    np.testing.assert_allclose(
        levels_to_numbers(pixel, torch).ravel(),
        [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        levels_to_numbers(pixel, BUILT_IN["pix2pix"].input).ravel(), [-0.6, -1, 1], rtol=1e-6
    )
    np.testing.assert_allclose(
        levels_to_numbers(pixel, PixelEncoding("Y")).ravel(), [0.299 + 0.114 * 0.2], rtol=1e-6
    )


@pytest.mark.parametrize("preset", PICTURES, ids=lambda preset: preset.name)
def test_a_net_that_does_nothing_gives_the_photo_back(preset: Preset) -> None:
    same = spec(replace(preset, output=preset.input, median_filter=0))
    photo = levels(2, 7, 9, 3)
    if preset.input.channels == "grey":
        photo = photo[..., :1].repeat(3, axis=-1)
    apart = to_images(to_net(photo, same), photo, same).astype(int) - photo
    # torch/image's two matrices are inverse to three digits only.
    assert np.abs(apart).max() <= (1 if preset.input.channels == "Y" else 0)


def test_levels_are_clipped_and_rounded_to_the_nearest() -> None:
    output = np.array([-3, 0.4, 0.6, 254.4, 254.6, 300], np.float32).reshape(1, 1, 2, 3)
    plain = spec(Preset("levels", PixelEncoding(), PixelEncoding("RGB", (0.0, 255.0))))
    image = to_images(output, levels(1, 1, 2, 3), plain)
    assert image.ravel().tolist() == [0, 0, 1, 254, 255, 255]


def test_numbers_that_are_none_are_refused() -> None:
    output = np.full((1, 2, 2, 3), np.nan, np.float32)
    with pytest.raises(UnreadablePicture, match="not finite"):
        to_images(output, levels(1, 2, 2, 3), spec(BUILT_IN["plain"]))


def test_the_median_filter_cuts_the_border_as_torch_does() -> None:
    picture = levels(1, 6, 5, 3).astype(np.float32)
    filtered = median(picture, 3)
    assert filtered.shape == (1, 4, 3, 3)
    assert filtered[0, 1, 2, 0] == sorted(picture[0, 1:4, 2:5, 0].ravel())[4]


def test_a_border_is_repeated_and_a_multiple_filled_and_both_cut_again() -> None:
    doubling = spec(BUILT_IN["waifu2x-rgb"], multiple=4, scale=2, margin=12)
    photo = levels(1, 9, 10, 3)
    fed = to_net(photo, doubling)
    assert fed.shape == (1, 16, 16, 3)
    np.testing.assert_array_equal(fed[0, 3:12, 3:13], photo[0] / np.float32(255))
    np.testing.assert_array_equal(fed[0, :3, 3], np.repeat(fed[0, 3:4, 3], 3, axis=0))
    output = np.zeros((1, 2 * 16 - 12, 2 * 16 - 12, 3), np.float32)
    assert to_images(output, photo, doubling).shape == (1, 18, 20, 3)


@pytest.mark.parametrize("preset", PICTURES, ids=lambda preset: preset.name)
@pytest.mark.parametrize(
    "geometry", [{}, {"multiple": 4}, {"margin": 4}, {"multiple": 4, "margin": 6}], ids=str
)
def test_tensorflow_makes_the_same_pictures(preset: Preset, geometry: dict[str, int]) -> None:
    from porter.emit import image_signature
    from porter.system.tensorflow import tf

    said = spec(preset, **geometry)
    photo = levels(2, 13, 10, 3)
    fed = to_net(photo, said)
    in_tensorflow = image_signature.levels_to_numbers(
        image_signature.stretched(tf.constant(photo), said), preset.input
    )
    np.testing.assert_allclose(np.asarray(in_tensorflow), fed, rtol=1e-6, atol=1e-4)
    cut = said.geometry.margin // 2
    output = fed[:, cut : fed.shape[1] - cut, cut : fed.shape[2] - cut]
    assert preset.output is not None
    picture = image_signature.picture(tf.constant(output), tf.constant(photo), said, preset.output)
    expected = to_images(output, photo, said)
    assert picture.shape == expected.shape
    assert np.abs(np.asarray(picture).astype(int) - expected).max() <= 1
