"""What float32 rounds away in a layer, where a net behind it may amplify that."""

from __future__ import annotations

import numpy as np

from porter.parity import compare as parity
from porter.runtime.runner import Variables
from tests.build import model, sequential, torch_module


def test_the_average_of_a_thousand_numbers_rounds_little() -> None:
    """texture_nets' pyramids begin with averages of 32×32, which normalisation amplifies."""
    fields = {"kW": 32, "kH": 32, "dW": 32, "dH": 32, "divide": True, "count_include_pad": True}
    net = model(sequential(torch_module("nn.SpatialAveragePooling", **fields)))
    images = np.random.default_rng(0).random((2, 3, 96, 64), np.float32)
    report = parity.verify(net, images, {p: Variables(p) for p in ("float32", "float64")})
    assert report.passed
    (row,) = report.rows
    assert row.isolated is not None
    assert row.isolated.max_rel < 5e-7  # 1e-6 where one number is added after the other
