"""Variables are compared in pieces with what a checkpoint gives back."""

from __future__ import annotations

import numpy as np
import pytest

from porter.parity import measure


@pytest.mark.parametrize("place", [None, 0, 499, 999])
def test_arrays_are_compared_to_the_last_element(
    place: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "PIECE", 64)
    first = np.random.default_rng(0).standard_normal((10, 100)).astype(np.float32)
    first[3, 3] = np.nan
    second = first.copy()
    if place is not None:
        second.flat[place] += 1
    assert measure.equal(first, second) == (place is None)
    assert not measure.equal(first, first.T)
