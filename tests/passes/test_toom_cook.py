"""The matrices of fast convolutions."""

from __future__ import annotations

import numpy as np
import pytest

from porter.passes.toom_cook import transforms


@pytest.mark.parametrize(
    ("outputs", "taps", "points"),
    [(4, 3, (0, 0.75, -0.75, 1.5, -1.5)), (2, 3, (0, 1, -1)), (3, 2, (0, 1, -1)), (1, 3, (2, 0.5))],
)
def test_tiles_are_convolved(outputs: int, taps: int, points: tuple[float, ...]) -> None:
    random, n = np.random.default_rng(1), outputs + taps - 1
    x, g = random.standard_normal((n, n)), random.standard_normal((taps, taps))
    found = transforms(outputs, taps, points)
    computed = found.output @ ((found.filters @ g.ravel()) * (found.input @ x.ravel()))
    expected = [
        (x[i : i + taps, j : j + taps] * g).sum() for i in range(outputs) for j in range(outputs)
    ]
    assert np.allclose(computed, expected, rtol=0, atol=1e-12)
