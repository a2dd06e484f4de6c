"""What comparisons make of NaN, which depends on how each of Torch's loops is written.

`fixtures/field/nan` holds nets that take roots of negative numbers first, as a real Torch7 ran
them. Classes for which there is no such recording are held to what their source says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from porter.apps.check.checker import Checker, find, run
from porter.ir.options import Options
from porter.layer_maps.windows import LOWEST
from porter.parity import compare as parity
from porter.runtime.runner import Variables
from porter.torch7 import TorchObject
from tests.build import FIXTURES, Array, model, randn, sequential, torch_module

NAN = np.float32(np.nan)
WINDOWS = {"kW": 2, "kH": 2, "dW": 2, "dH": 2}


RECORDED = (
    *("images", "volumes", "frames", "rows", "vector", "undone"),
    *("connections", "full_connections", "planes"),
)


@pytest.mark.parametrize("name", RECORDED)
def test_nan_becomes_what_torch_makes_of_it(name: str) -> None:
    (result,) = run(find([FIXTURES / "field" / "nan" / f"{name}.t7"]), Checker())
    assert result.status == "pass", result.message


def computed(layer: TorchObject, x: Any) -> Array:
    """What a layer computes where NaN may come; NumPy and TensorFlow agree on it."""
    ported = model(sequential(layer), options=Options(nan=True))
    report = parity.verify(ported, x, {p: Variables(p) for p in ("float32", "float64")})
    assert report.passed, report.first_diverging
    return report.expected[0]


IMAGE = np.array([[[[NAN, 1, NAN, NAN], [-2, NAN, NAN, NAN]]]], np.float32)


@pytest.mark.parametrize(
    ("typename", "expected"),
    [
        ("nn.SpatialMaxPooling", [1, LOWEST]),
        ("inn.SpatialMaxPooling", [1, LOWEST]),
        ("cudnn.SpatialMaxPooling", [NAN, NAN]),
    ],
)
def test_nn_passes_over_nan_and_cudnn_propagates_it(typename: str, expected: list[float]) -> None:
    """THNN SpatialDilatedMaxPooling.c; cudnn.torch Pooling.lua asks for CUDNN_PROPAGATE_NAN."""
    pooled = computed(torch_module(typename, **WINDOWS), IMAGE)
    np.testing.assert_array_equal(pooled.ravel(), np.float32(expected))


def test_windows_without_nan_are_none_of_its_business() -> None:
    x = randn(1, 1, 4, 4)
    x[0, 0, 0, 0] = NAN
    pooled = computed(torch_module("cudnn.SpatialMaxPooling", **WINDOWS), x).ravel()
    assert np.isnan(pooled).tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (torch_module("cudnn.ClippedReLU", ceiling=6.0), [NAN, 0, 2, 6]),
        (torch_module("nn.BinActiveZ"), [0, -1, 1, 1]),
        (torch_module("w2nn.InplaceClip01"), [NAN, 0, 1, 1]),
        (torch_module("nn.Clip", minval=0.0, maxval=1.0), [NAN, 0, 1, 1]),
    ],
)
def test_elementwise_classes_without_a_recording(layer: TorchObject, expected: list[float]) -> None:
    x = np.array([NAN, -1, 2, 9], np.float32)
    np.testing.assert_array_equal(computed(layer, x), np.float32(expected))


def test_regions_are_pooled_without_nan() -> None:
    """imagine-nn ROIPooling.cu compares as THNN does."""
    pooling = torch_module("inn.ROIPooling", W=2, H=1, spatial_scale=1.0)
    regions = np.array([[1, 1, 1, 4, 2]], np.float32)
    pooled = computed(pooling, [IMAGE, regions])
    np.testing.assert_array_equal(pooled.ravel(), np.float32([1, LOWEST]))
