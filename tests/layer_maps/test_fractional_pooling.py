"""Pooling regions that the file does not hold: drawn once, by the seed, for each plane and axis."""

from __future__ import annotations

import numpy as np

from porter.ir.options import Options
from porter.parity import compare as parity
from porter.runtime.runner import Variables
from tests.build import Array, model, randn, sequential, torch_module

LAYER = torch_module("nn.SpatialFractionalMaxPooling", poolSizeH=2, poolSizeW=2, outH=6, outW=7)


def pooled(seed: int) -> Array:
    """What NumPy and TensorFlow, agreeing, make of the same image with a seed."""
    net = model(sequential(LAYER), options=Options(seed=seed))
    assert "seed" in net.op(LAYER).warning
    plane = randn(1, 1, 18, 25)
    x = np.repeat(np.repeat(plane, 4, axis=1), 3, axis=0)
    report = parity.verify(net, x, {p: Variables(p) for p in ("float32", "float64")})
    assert report.passed, report.first_diverging
    return report.expected[0]


def test_regions_depend_on_the_seed_and_differ_from_plane_to_plane() -> None:
    first = pooled(1)
    np.testing.assert_array_equal(first, pooled(1))
    assert (first != pooled(2)).any()
    # Two planes have the same regions in one draw of thirty, all four in none.
    assert any((first[:, 0] != first[:, plane]).any() for plane in (1, 2, 3))
    np.testing.assert_array_equal(first[0], first[2])
