"""Telling rounding that a net amplifies from a port that is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from porter.ir.layer_map import Accepts, LayerMap
from porter.ir.layout import OpContext
from porter.ir.registry import Registry, register, registering_into
from porter.layer_maps import default_registry
from porter.parity.compare import Report, Tolerance, verify
from porter.parity.rounding import FACTOR, MAX_ROUNDING, Rounding, of_two_draws
from porter.report.as_json import warnings
from porter.runtime.runner import Variables
from tests.build import Array, model, randn, sequential, torch_module


def with_folds(error: float = 0.0, factor: float = 10, error32: float = 0.0) -> Registry:
    """porter's maps and `my.Fold`, which makes every difference up to `factor` times larger.

    `error32` is a mistake of the port in float32 only.
    """

    class Fold(LayerMap):
        accepts = Accepts.ELEMENTWISE

        def reference(self, x: Array) -> Array:
            return np.sin(factor * x)

        def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
            mistake = error32 if x.dtype == tf.float32 else error
            return tf.sin(tf.multiply(x, factor + mistake))

    with registering_into(default_registry().copy()) as extended:
        register("my.Fold")(Fold)
    return extended


def folded(
    times: int, registry: Registry, deep: bool = True, tolerance: Tolerance | None = None
) -> Report:
    """A chain of folds, verified on numbers between -1 and 1."""
    net = model(sequential(*(torch_module("my.Fold") for _ in range(times))), registry)
    variables = {precision: Variables(precision) for precision in ("float32", "float64")}
    return verify(net, np.tanh(randn(2, 30)), variables, deep=deep, tolerance=tolerance)


@pytest.mark.parametrize("deep", [True, False])
def test_amplified_rounding_passes_and_is_reported(deep: bool) -> None:
    report = folded(5, with_folds(), deep)
    last = report.rows[-1]
    assert last.accumulated is not None
    assert last.accumulated.max_rel > 1e-4
    assert report.passed
    assert last.accumulated.max_rel <= last.tolerance.accumulated == report.allowed <= MAX_ROUNDING
    assert "float32 rounding alone" in last.note
    assert report.rows[0].note == ""
    assert report.rows[0].tolerance.accumulated == 1e-4
    (warning,) = warnings([report])
    assert "rounding" in warning
    assert "5 (my.Fold)" in warning


def test_a_small_mistake_that_is_amplified_fails() -> None:
    report = folded(5, with_folds(error=1e-6), deep=False)
    assert all(row.isolated is not None and row.isolated.max_rel < 1e-5 for row in report.rows)
    assert not report.passed
    assert report.allowed == 1e-4


def test_a_mistake_in_float32_alone_that_is_amplified_fails() -> None:
    report = folded(5, with_folds(error32=9e-6), deep=False)
    assert all(row.isolated is not None and row.isolated.max_rel < 1e-5 for row in report.rows)
    assert not report.passed


def test_one_layer_may_amplify_the_rounding_of_its_input() -> None:
    (row,) = folded(1, with_folds(factor=3000)).rows
    assert row.isolated is not None
    assert 1e-5 < row.isolated.max_rel <= row.tolerance.isolated
    assert "in float64 the layer agrees" in row.note
    assert row.passed
    assert row.hint is None


def test_one_layer_that_is_wrong_is_not_excused() -> None:
    (row,) = folded(1, with_folds(error=1e-4, factor=3000)).rows
    assert not row.passed
    assert row.tolerance.isolated == 1e-5


def test_where_rounding_is_all_there_is_nothing_is_proven() -> None:
    assert not folded(9, with_folds()).passed


@pytest.mark.parametrize("tolerance", [Tolerance(isolated=1e-8), Tolerance(accumulated=9e-5)])
def test_a_tolerance_that_was_requested_stays(tolerance: Tolerance) -> None:
    assert not folded(5, with_folds(), tolerance=tolerance).passed


def test_what_needs_no_excuse_keeps_the_tolerance() -> None:
    report = folded(1, with_folds())
    assert report.passed
    assert report.allowed == 1e-4
    assert warnings([report]) == []


def test_float64_must_agree_before_rounding_is_believed() -> None:
    assert Rounding(1e-5, 1e-12).allows(1e-10) == pytest.approx(FACTOR * 1e-5)
    assert Rounding(1e-5, 1e-9).allows(1e-10) == 0
    assert Rounding(float("inf"), 1e-12).allows(1e-10) == MAX_ROUNDING


def test_agreement_in_float64_is_a_second_draw_of_rounding() -> None:
    assert of_two_draws(1e-5, 1e-14) == Rounding(1e-5, 1e-14)
    assert of_two_draws(1e-6, 2.0**-29 * 4e-6) == Rounding(pytest.approx(4e-6), 2.0**-29 * 4e-6)
    # What is not rounding, though too small to fail in float64, is not blown up.
    assert of_two_draws(1e-6, 9e-11).float32 == pytest.approx(FACTOR * 1e-6)
    # A mistake gets nothing by it.
    assert of_two_draws(1e-6, 1e-7).allows(1e-10) == 0
