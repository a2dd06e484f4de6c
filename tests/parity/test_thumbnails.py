"""Small pictures of activations, and how much memory a verification holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from porter.parity import compare as parity
from porter.parity.compare import verify
from porter.parity.measure import Measure, compare, failed
from porter.parity.oracle import Oracle
from porter.parity.thumbnails import IMAGE_SIDE, KEPT, SIDE, Worst, shrink, strip, thumbnail
from porter.runtime.runner import Variables
from tests.build import model, randn, relu, sequential


def test_the_plane_with_the_largest_error_is_kept_and_its_worst_pixel_survives() -> None:
    expected = randn(2, 3, 200, 150)
    computed = expected.copy()
    computed[1, 2, 117, 33] += 5
    small = thumbnail(expected, computed)
    measured = thumbnail(expected, computed, compare(expected, computed).worst_index)
    assert small.place == measured.place == "sample 2, plane 3"
    assert np.array_equal(small.error, measured.error)
    assert small.expected.shape == small.error.shape == (SIDE, SIDE)
    assert small.error.max() == pytest.approx(5, rel=1e-5)
    assert small.expected.mean() == pytest.approx(expected[1, 2].mean(), abs=0.01)


def test_vectors_are_folded() -> None:
    expected = np.arange(20.0).reshape(2, 10)
    small = thumbnail(expected, expected + np.array([[0.0], [1.0]]))
    assert small.place == "sample 2"
    assert small.expected.shape == (3, 4)
    assert np.isnan(small.expected).sum() == 2


def test_averages_and_maxima_of_blocks() -> None:
    plane = np.arange(70.0)[:, None] * np.ones((1, 3))
    assert shrink(plane, 7, np.add)[:, 0].tolist() == [4.5 + 10 * i for i in range(7)]
    assert shrink(plane, 7, np.maximum)[:, 0].tolist() == [9 + 10 * i for i in range(7)]


def test_only_the_worst_are_stored() -> None:
    worst = Worst()
    for number in range(50):
        error = float((number * 7) % 50)
        worst.offer(number, Measure(error, error), np.zeros(4), np.full(4, error))
    assert sorted(error for error, _ in worst.found.values()) == [44, 45, 46, 47, 48, 49]
    assert len(worst.found) == KEPT
    worst.offer("shape", failed("shape"), np.zeros(4), np.zeros(5))
    assert worst.get("shape") is None


def test_a_strip_of_an_image_net() -> None:
    fed, expected = randn(2, 3, 300, 20), randn(2, 1, 300, 20)
    shown = strip(fed, expected, expected + 0.5)
    assert shown is not None
    assert shown.fed.shape == (IMAGE_SIDE, 20, 3)
    assert shown.computed.shape == (IMAGE_SIDE, 20, 1)
    assert shown.largest == pytest.approx(0.5, rel=1e-6)
    assert strip(fed, randn(2, 10), randn(2, 10)) is None
    assert strip([fed, fed], expected, expected) is None


# Memory ------------------------------------------------------------------------------------------


def test_a_long_net_holds_few_activations_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    original = Oracle.complete

    def counting(self: Oracle, node: Any) -> None:
        nonlocal most
        original(self, node)
        most = max(most, len(self.values))

    monkeypatch.setattr(parity.Oracle, "complete", counting)
    net = sequential(*(relu() for _ in range(40)))
    variables = {precision: Variables(precision) for precision in ("float32", "float64")}
    report = verify(model(net), randn(1, 2, 4, 4), variables)
    assert report.passed
    assert len(report.rows) == 40
    assert most == 2
