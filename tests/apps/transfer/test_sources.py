"""The same net from every format describes a picture alike, and as NumPy says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.apps.transfer import open_descriptor
from porter.apps.transfer.source import Opening
from porter.conversion.pipeline import convert
from porter.conversion.request import Request
from porter.errors import UsageError
from porter.imaging.presets import BGR_MEAN
from porter.system.tensorflow import tf
from tests import build
from tests.apps.transfer import files
from tests.write_t7 import write_t7

PICTURE = np.random.default_rng(0).uniform(0, 255, (2, 26, 31, 3)).astype(np.float32)
LAYERS = ["conv1_1", "relu1_1", "relu2_2", "relu3_1"]


def correlate(
    x: Any, filters: Any, bias: Any, pad: int = 1, stride: int = 1, groups: int = 1
) -> Any:
    """A convolution NHWC in float64."""
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, filters.shape[:2], axis=(1, 2))
    windows = windows[:, ::stride, ::stride]
    parts = [
        np.einsum("nhwcij,ijco->nhwo", part, kernel)
        for part, kernel in zip(
            np.split(windows, groups, axis=3), np.split(filters, groups, axis=3), strict=True
        )
    ]
    return np.concatenate(parts, axis=-1) + bias


def pooled(x: Any, reduce: Any = np.max, ceil: bool = True) -> Any:
    """2×2 windows; those that overhang have what there is."""
    height, width = (-(-n // 2) if ceil else n // 2 for n in x.shape[1:3])
    rows = [
        [reduce(x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2], axis=(1, 2)) for j in range(width)]
        for i in range(height)
    ]
    return np.stack([np.stack(row, axis=1) for row in rows], axis=1)


def features_by_numpy(picture: Any, ceil: bool, pool: Any = np.max, pad: int = 1) -> dict[str, Any]:
    """Features by NumPy."""
    x = picture[..., ::-1].astype(np.float64) - np.array(BGR_MEAN)
    features = {}
    for name, (filters, bias) in files.weights().items():
        x = correlate(x, filters.astype(np.float64), bias, pad)
        features[name] = x
        x = np.maximum(x, 0)
        features[name.replace("conv", "relu")] = x
        if files.ends_block(name):
            x = pooled(x, pool, ceil)
    return features


def keras(folder: Path, name: str, top: bool = False) -> Path:
    """The net saved by Keras: its weights alone, or all of it."""
    model, path = files.keras_model(top), folder / name
    model.save_weights(path) if "weights" in name else model.save(path)
    return path


FORMATS: dict[str, tuple[Callable[[Path], Path], bool]] = {
    "torch": (files.torch_vgg, True),
    "npz": (files.npz, False),
    "npy": (files.npy, False),
    "caffe of 2014": (files.caffe_v1, True),
    "caffe": (files.caffe_today, True),
    "keras notop": (files.keras_weights, False),
    "keras of 2016": (files.keras_of_2016, False),
    "matconvnet": (files.matconvnet, False),
    "matconvnet at first": (lambda folder: files.matconvnet(folder, today=False), False),
    "safetensors": (lambda folder: files.safetensors(folder, numbered=False), False),
    "keras weights": (lambda folder: keras(folder, "vgg.weights.h5"), False),
    "keras": (lambda folder: keras(folder, "vgg.keras"), False),
    "keras top": (lambda folder: keras(folder, "vgg_top.keras", top=True), False),
    "keras h5 top": (lambda folder: keras(folder, "vgg_top.h5", top=True), False),
}


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_describes_a_picture_as_numpy_does(format: str, tmp_path: Path) -> None:
    write, ceil = FORMATS[format]
    whole = not format.startswith("keras") or format == "keras of 2016"
    layers = [name for name in LAYERS if name.startswith("relu") or whole]
    descriptor = open_descriptor(write(tmp_path), layers)
    features, expected = descriptor(tf.constant(PICTURE)), features_by_numpy(PICTURE, ceil)
    assert list(features) == layers
    for name in layers:
        np.testing.assert_allclose(
            features[name], expected[name], rtol=1e-4, atol=1e-3, err_msg=name
        )


@pytest.mark.parametrize("format", ["torch", "npz", "caffe", "keras"])
def test_pooling_and_padding_are_changed(format: str, tmp_path: Path) -> None:
    write, ceil = FORMATS[format]
    path = write(tmp_path)
    mean = open_descriptor(path, ["relu3_1"], pooling="average", padding="valid")
    expected = features_by_numpy(PICTURE, ceil, np.mean, pad=0)["relu3_1"]
    np.testing.assert_allclose(
        mean(tf.constant(PICTURE))["relu3_1"], expected, rtol=1e-4, atol=1e-3
    )
    same = open_descriptor(path, ["relu3_1"], pooling="max", padding="same")
    expected = features_by_numpy(PICTURE, ceil)["relu3_1"]
    np.testing.assert_allclose(
        same(tf.constant(PICTURE))["relu3_1"], expected, rtol=1e-4, atol=1e-3
    )


def test_layers_without_names_go_by_torch_path(tmp_path: Path) -> None:
    path = files.torch_vgg(tmp_path, named=False)
    descriptor = open_descriptor(path, ["1", "12"], preprocessing="imagenet-caffe")
    features, expected = descriptor(tf.constant(PICTURE)), features_by_numpy(PICTURE, ceil=True)
    np.testing.assert_allclose(features["1"], expected["conv1_1"], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(features["12"], expected["relu3_1"], rtol=1e-4, atol=1e-3)


def test_a_converted_folder_describes_as_its_t7(tmp_path: Path) -> None:
    path = files.torch_vgg(tmp_path)
    convert(Request(path, tmp_path / "converted"))
    # The rounding of ceil mode is that of the size for which the classifier was converted.
    layers, x = ["1", "12"], tf.constant(PICTURE[:, :24, :28])
    for pooling, padding in [("as-saved", "as-saved"), ("average", "valid")]:
        options = {"pooling": pooling, "padding": padding, "preprocessing": "imagenet-caffe"}
        torch = open_descriptor(path, layers, **options)(x)
        folder = open_descriptor(tmp_path / "converted", layers, **options)(x)
        for name in layers:
            np.testing.assert_allclose(folder[name], torch[name], rtol=1e-5, atol=1e-4)


def test_alexnet_has_groups_and_normalisation(tmp_path: Path) -> None:
    layers = files.alexnet_layers()
    picture = np.random.default_rng(1).uniform(0, 255, (1, 67, 71, 3)).astype(np.float32)
    descriptor = open_descriptor(files.npy(tmp_path, layers), ["conv1", "norm1", "relu2"])
    features = descriptor(tf.constant(picture))
    x = picture[..., ::-1].astype(np.float64) - np.array(BGR_MEAN)
    first = correlate(x, *layers["conv1"], pad=0, stride=4)
    np.testing.assert_allclose(features["conv1"], first, rtol=1e-4, atol=1e-3)
    active = np.maximum(first, 0)
    squares = np.pad(active**2, ((0, 0), (0, 0), (0, 0), (2, 2)))
    sums = sum(squares[..., i : i + active.shape[-1]] for i in range(5))
    normal = active / (1 + 1e-4 / 5 * sums) ** 0.75
    np.testing.assert_allclose(features["norm1"], normal, rtol=1e-4, atol=1e-3)
    height, width = (-(-(n - 3) // 2) + 1 for n in normal.shape[1:3])
    pool = np.stack(
        [
            np.stack(
                [normal[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((1, 2)) for j in range(width)],
                1,
            )
            for i in range(height)
        ],
        1,
    )
    second = np.maximum(correlate(pool, *layers["conv2"], pad=2, groups=2), 0)
    np.testing.assert_allclose(features["relu2"], second, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_reach_the_image_through_groups(dtype: str, tmp_path: Path) -> None:
    path = files.npy(tmp_path, files.alexnet_layers())
    descriptor = open_descriptor(path, ["relu5"], dtype=dtype)
    x = tf.constant(np.random.default_rng(1).uniform(0, 255, (1, 99, 99, 3)), dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(descriptor(x)["relu5"])
    assert np.abs(tape.gradient(total, x)).max() > 0


def test_only_what_is_needed_is_loaded(tmp_path: Path) -> None:
    broken = np.full((3, 3, 12, 10), np.nan, np.float32)
    path = files.npz(tmp_path, conv3_1_W=broken)
    open_descriptor(path, ["relu2_2"])
    prototxt = files.caffe_v1(tmp_path).with_suffix(".prototxt")
    moved = prototxt.rename(tmp_path / "other.prototxt")
    descriptor = open_descriptor(
        tmp_path / "vgg.caffemodel", ["relu1_1"], opening=Opening(prototxt=moved)
    )
    assert descriptor(tf.constant(PICTURE))["relu1_1"].shape == (2, 26, 31, 8)


def caffe_means(x: Any, rows: int, columns: int) -> Any:
    """3×3 windows, two apart, padded by one: divided by their elements, padding included.

    Source: Caffe pooling_layer.cpp.
    """
    height, width = x.shape[1:3]
    output = np.zeros((len(x), rows, columns, x.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            top, left = 2 * i - 1, 2 * j - 1
            bottom, right = min(top + 3, height + 1), min(left + 3, width + 1)
            window = x[:, max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
            output[:, i, j] = window.sum((1, 2)) / ((bottom - top) * (right - left))
    return output


def test_caffes_layers_are_joined_as_the_prototxt_says(tmp_path: Path) -> None:
    path = files.caffe_branches(tmp_path)
    path.with_suffix(".prototxt").unlink()
    features = open_descriptor(path, ["both", "rounded_up"])(tf.constant(PICTURE))
    x = PICTURE[..., ::-1].astype(np.float64) - np.array(BGR_MEAN)
    filters, bias = files.weights()["conv1_1"]
    convolved = correlate(x, filters.astype(np.float64), bias, stride=2)
    joined = np.concatenate([convolved, caffe_means(x, 13, 16)], axis=-1)
    np.testing.assert_allclose(features["both"], joined, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(features["rounded_up"], caffe_means(x, 14, 16), rtol=1e-4, atol=1e-3)
    with pytest.raises(UsageError, match="no layer norm"):
        open_descriptor(path, ["norm"])


@pytest.mark.parametrize("size", [25, 26])
def test_same_pads_as_tensorflow_does_whatever_the_stride(size: int, tmp_path: Path) -> None:
    path = files.caffe_branches(tmp_path)
    image = PICTURE[:1, :size, :size]
    features = open_descriptor(path, ["conv"], padding="same")(tf.constant(image))["conv"]
    x = image[..., ::-1].astype(np.float64) - np.array(BGR_MEAN)
    filters, bias = files.weights()["conv1_1"]
    # An even size has its one row of zeros behind the image, an odd one a row on both sides.
    before = size % 2
    padded = np.pad(x, ((0, 0), (before, 1), (before, 1), (0, 0)))
    same = correlate(padded, filters.astype(np.float64), bias, pad=0, stride=2)
    np.testing.assert_allclose(features, same, rtol=1e-4, atol=1e-3)


def test_a_t7_saved_in_training_mode_describes_in_evaluate_mode(tmp_path: Path) -> None:
    features = []
    for train in (False, True):
        net = build.sequential(build.conv(3, 4), build.batch_norm(4, train=train))
        path = write_t7(tmp_path / f"{train}.t7", net)
        descriptor = open_descriptor(path, ["2"], preprocessing="plain")
        features.append(descriptor(tf.constant(PICTURE))["2"])
    np.testing.assert_array_equal(*features)


def test_works_inside_a_function_of_any_size(tmp_path: Path) -> None:
    for path in (files.torch_vgg(tmp_path), files.npz(tmp_path), keras(tmp_path, "vgg.keras")):
        descriptor = open_descriptor(path, ["relu3_1"])
        spec = tf.TensorSpec([None, None, None, 3], tf.float32)
        called = tf.function(lambda x, d=descriptor: d(x)["relu3_1"], input_signature=[spec])
        for size in ((17, 21), (40, 32)):
            x = tf.constant(PICTURE[:1, : size[0], : size[1]])
            np.testing.assert_allclose(called(x), descriptor(x)["relu3_1"], rtol=1e-4, atol=1e-3)


def test_preprocessing_of_every_preset() -> None:
    from porter.apps.transfer.descriptor import to_numbers
    from porter.imaging.pixels import levels_to_numbers
    from porter.imaging.presets import BUILT_IN

    levels = np.random.default_rng(2).integers(0, 256, (1, 5, 7, 3)).astype(np.uint8)
    for preset in BUILT_IN.values():
        features = to_numbers(tf.constant(levels.astype(np.float32)), preset.input)
        expected = levels_to_numbers(levels, preset.input)
        np.testing.assert_allclose(features, expected, rtol=1e-5, atol=2e-5, err_msg=preset.name)
