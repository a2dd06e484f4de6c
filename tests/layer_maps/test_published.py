"""Classes of published systems where no recording tells one meaning from another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from porter.errors import BadField
from porter.frontend.inputs import types_of
from porter.ir.layout import plan
from porter.ir.nested import Nested, leaves
from porter.layer_maps.activation import BinaryActivation
from porter.layer_maps.training_only import GradientRescale
from porter.runtime import runner
from porter.torch7 import TorchObject
from tests.build import Array, linear, model, randn, run, sequential, torch_module, view

RAMP = np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8)
WHOLE = np.array([[1, 1, 1, 8, 8]], np.float32)


def both(module: TorchObject, x: Nested[Array]) -> tuple[Array, Array]:
    """What the reference makes, and what TensorFlow makes."""
    steps = plan(model(module).walk(types_of(x)))
    stored = {
        value.id: runner.store(array, value, steps.inputs[value.id], "float32")
        for value, array in zip(leaves(steps.graph.inputs), leaves(x), strict=True)
    }
    (output,) = leaves(steps.graph.outputs)
    tensors = runner.run(steps, stored, runner.Variables())
    reference = run(module, x)
    assert isinstance(reference, np.ndarray)
    return reference, runner.load(tensors[output.id], steps.outputs[output.id])


def expect(module: TorchObject, x: Nested[Array], numbers: Any) -> None:
    for output in both(module, x):
        np.testing.assert_allclose(output, numbers, rtol=1e-6, atol=1e-6)


# Regions ------------------------------------------------------------------------------------------


def pooling(**fields: Any) -> TorchObject:
    return torch_module("inn.ROIPooling", W=2, H=2, spatial_scale=1, **fields)


def test_roi_pooling_of_version_2_rounds_bins_and_ends_regions_one_pixel_earlier() -> None:
    # 7 pixels in bins of 3.5: rows and columns 0…3 and 4…6.
    expect(pooling(v2=True), [RAMP, WHOLE], [[[[27, 30], [51, 54]]]])


def test_roi_pooling_of_version_1_widens_bins_to_whole_pixels() -> None:
    expect(pooling(), [RAMP, WHOLE], [[[[27, 31], [59, 63]]]])


def test_roi_pooling_gives_zero_for_a_region_beyond_the_image() -> None:
    beyond = np.array([[1, 20, 20, 30, 30]], np.float32)
    expect(pooling(v2=True), [RAMP, beyond], np.zeros((1, 1, 2, 2)))


def test_roi_pooling_rounds_halves_away_from_zero() -> None:
    # (4 - 1) / 2 = 1.5 becomes 2: the region begins at pixel 2.
    module = torch_module("inn.ROIPooling", W=1, H=1, spatial_scale=0.5, v2=True)
    expect(module, [RAMP, np.array([[1, 4, 4, 4, 4]], np.float32)], [[[[18]]]])


def adaptive(**fields: Any) -> TorchObject:
    return torch_module("detection.ROIPooling", W=2, H=2, **fields)


def test_adaptive_pooling_of_regions_divides_as_an_adaptive_pooling_does() -> None:
    # 7 pixels in 2 windows: 0…3 and 3…6; a region that goes on beyond the picture ends with it.
    region = np.array([[1, 1, 1, 7, 7]], np.float32)
    expect(adaptive(spatial_scale=1), [RAMP, region], [[[[27, 30], [51, 54]]]])
    beyond = np.array([[1, 7, 7, 99, 99]], np.float32)
    expect(adaptive(spatial_scale=1), [RAMP, beyond], [[[[54, 55], [62, 63]]]])


def test_the_first_region_of_an_adaptive_pooling_lies_in_the_first_picture() -> None:
    pictures = np.concatenate([RAMP, RAMP + 100])
    regions = np.array([[5, 1, 1, 1, 1], [6, 1, 1, 1, 1]], np.float32)
    corners = [[[[0, 0], [0, 0]]], [[[100, 100], [100, 100]]]]
    expect(adaptive(spatial_scale=1), [pictures, regions], corners)


# Stereo -------------------------------------------------------------------------------------------


def test_stereo_join_compares_with_pixels_further_left() -> None:
    images = np.array([[[[1, 2, 3]]], [[[5, 7, 11]]]], np.float32)
    module = torch_module("nn.StereoJoin", disp_max=2)
    expect(module, images, [[[[-5, -14, -33]], [[0, -10, -21]]]])


def test_normalize2_adds_its_epsilon_under_the_root() -> None:
    pixel = np.full((1, 1, 1, 1), 1e-3, np.float32)
    expect(torch_module("nn.Normalize2"), pixel, pixel / np.sqrt(1e-6 + 1e-5))


# Spatial transformers -----------------------------------------------------------------------------


def test_the_identity_samples_every_pixel() -> None:
    image = randn(1, 5, 7, 3)
    rows, columns = np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 7), indexing="ij")
    grid = np.stack([rows, columns], axis=-1)[None].astype(np.float32)
    expect(torch_module("nn.BilinearSamplerBHWD"), [image, grid], image)


def test_sampling_beyond_the_border_fades_to_zero() -> None:
    image = np.ones((1, 3, 3, 1), np.float32)
    # Two pixels lie 1 apart: −1.25 is a quarter pixel above the first row, −2 a whole one.
    grid = np.array([[[[-1, 0], [-1.25, 0], [-2, 0], [-9, 0]]]], np.float32)
    expect(torch_module("nn.BilinearSamplerBHWD"), [image, grid], [[[[1], [0.75], [0], [0]]]])


# Resampling ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "width", "numbers"),
    [
        ("simple", 12, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]),
        ("average", 12, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]),
        ("simple", 2, [0, 3]),
        ("average", 2, [1, 4]),
        ("bilinear", 3, [0, 2.5, 5]),
    ],
)
def test_resampling_by_its_modes(mode: str, width: int, numbers: list[float]) -> None:
    extent = 5 if width > 6 else 6
    x = np.tile(np.arange(extent, dtype=np.float32), (1, extent, 1))
    module = torch_module("nn.SpatialReSamplingEx", mode=mode, oheight=width, owidth=width)
    expect(module, x, np.tile(np.array(numbers, np.float32), (1, width, 1)))


# Gradients ----------------------------------------------------------------------------------------


def test_binary_activations_pass_gradients_between_their_limits() -> None:
    x = tf.constant([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = BinaryActivation().train(tf, x, at=None)  # type: ignore[arg-type]
    np.testing.assert_array_equal(y, [-1, -1, -1, 0, 1, 1, 1])
    np.testing.assert_array_equal(tape.gradient(y, x), [0, 0, 1, 1, 1, 0, 0])


def test_gradient_rescale_scales_gradients_only() -> None:
    x = tf.constant([-2.0, 3.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = GradientRescale(factor=0.25).train(tf, x, at=None)  # type: ignore[arg-type]
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(tape.gradient(y, x), [0.25, 0.25])


# Language models ----------------------------------------------------------------------------------


def language_model() -> TorchObject:
    """torch-rnn's, with views in the sizes of another batch."""
    flat, back = view(1, -1), view(1, 1, -1)
    lookup = torch_module("nn.LookupTable", weight=randn(5, 4))
    rnn = torch_module("nn.VanillaRNN", weight=0.3 * randn(10, 6), bias=randn(6))
    net = sequential(lookup, rnn, flat, linear(6, 5), back)
    return torch_module("nn.LanguageModel", net=net, view1=flat, view2=back)


@pytest.mark.parametrize(("samples", "steps"), [(1, 1), (3, 7), (4, 2)])
def test_a_language_model_takes_any_batch_and_length(samples: int, steps: int) -> None:
    tokens = 1 + np.arange(samples * steps).reshape(samples, steps) % 5
    reference, port = both(language_model(), tokens)
    assert reference.shape == (samples, steps, 5)
    np.testing.assert_allclose(port, reference, rtol=1e-5, atol=1e-5)


def test_language_models_of_other_systems_are_refused_by_their_fields() -> None:
    captions = torch_module("nn.LanguageModel", core=sequential(), lookup_table=sequential())
    with pytest.raises(BadField, match="neuraltalk2"):
        model(captions).walk(types_of(np.ones((2, 3), np.int64)))


# Random regions -----------------------------------------------------------------------------------


def test_a_larger_batch_takes_the_random_numbers_of_the_file_in_turn() -> None:
    drawn = np.array([[[0.1, 0.9]], [[0.8, 0.3]]], np.float32)
    sizes = {"poolSizeH": 2, "poolSizeW": 2, "outH": 4, "outW": 4}
    module = torch_module("nn.SpatialFractionalMaxPooling", **sizes, randomSamples=drawn)
    pair = randn(2, 1, 9, 9)
    many, few = both(module, np.concatenate([pair, pair, pair[:1]])), both(module, pair)
    for larger, smaller in zip(many, few, strict=True):
        np.testing.assert_array_equal(larger, np.concatenate([smaller, smaller, smaller[:1]]))
