"""How far two arrays are apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from porter.parity.measure import BLOCK, Measure, compare, relative_error
from tests.build import randn


def test_equal_arrays_have_no_error() -> None:
    measure = compare(randn(3, 4), randn(3, 4))
    assert measure == Measure(cosine=measure.cosine, worst_index=(0, 0))
    assert measure.cosine == pytest.approx(1)
    assert measure.within(0)


def test_errors_are_in_units_of_the_largest_magnitude() -> None:
    reference = np.array([[-200.0, 0.0], [1.0, 2.0]])
    computed = np.add(reference, [[0.0, 0.0], [0.0, 0.5]])
    measure = compare(reference, computed)
    assert measure.max_abs == 0.5
    assert measure.max_rel == 0.5 / 200
    assert measure.worst_index == (1, 1)
    assert measure.p50 == 0
    assert 0 < measure.p99 < measure.max_rel
    assert measure.within(0.0025)
    assert not measure.within(0.0024)


def test_a_reference_of_zeros_has_the_scale_one() -> None:
    measure = compare(np.zeros(3), np.array([0.0, 0.25, 0.0]))
    assert measure.max_rel == 0.25
    assert measure.cosine == 0
    assert compare(np.zeros(3), np.zeros(3)).cosine == 1


def test_numbers_that_float32_does_not_hold_agree_with_zero() -> None:
    vanished = np.array([1e-60, 3e-44, 6e-39])  # a sigmoid of -140, -100 and -88
    measure = compare(vanished, np.zeros(3))
    assert measure.within(1e-5)
    assert measure.max_abs == 6e-39
    assert relative_error(vanished, np.zeros(3)) <= 1e-5
    assert not compare(vanished + 1e-20, vanished + 1.01e-20).within(1e-5)


def test_cosine_tells_a_permutation_that_statistics_would_not() -> None:
    measure = compare(np.array([1.0, -1.0]), np.array([-1.0, 1.0]))
    assert measure.cosine == pytest.approx(-1)
    assert measure.max_rel == 2


def test_another_shape_is_never_forgiven() -> None:
    measure = compare(randn(2, 3), randn(3, 2))
    assert measure.problem == "shape 3×2 where 2×3 is expected"
    assert not measure.within(math.inf)
    assert "scalar" in str(compare(np.array(1.0), randn(1)).problem)


def test_nan_and_infinities_at_the_same_places_are_equal() -> None:
    special = np.array([np.nan, np.inf, -np.inf, 2.0])
    assert compare(special, special).within(0)
    assert compare(special, np.add(special, [0, 0, 0, 1])).max_abs == 1


@pytest.mark.parametrize(
    ("reference", "computed", "place"),
    [
        ([1.0, np.nan], [1.0, 2.0], (1,)),
        ([1.0, 2.0], [np.inf, 2.0], (0,)),
        ([np.inf, 1.0], [-np.inf, 1.0], (0,)),
        ([1.0, np.nan], [1.0, np.inf], (1,)),
    ],
)
def test_nan_or_infinity_elsewhere_is_never_forgiven(
    reference: list[float], computed: list[float], place: tuple[int, ...]
) -> None:
    measure = compare(np.array(reference), np.array(computed))
    assert measure.problem == f"NaN or infinity at other places, first at {place}"
    assert not measure.within(math.inf)


def test_integers_are_compared_as_numbers() -> None:
    measure = compare(np.array([1, 2, 4]), np.array([1, 3, 4]))
    assert (measure.max_abs, measure.max_rel) == (1, 0.25)
    assert compare(np.array([True, False]), np.array([1, 0])).within(0)


def test_empty_arrays_agree() -> None:
    assert compare(np.empty((0, 3)), np.empty((0, 3))).within(0)


def test_the_worst_measure_is_the_one_with_a_problem() -> None:
    small, large = compare(np.ones(2), np.ones(2)), compare(np.ones(2), np.full(2, 9.0))
    broken = compare(np.ones(2), np.ones(3))
    assert Measure.worst([small, large]) is large
    assert Measure.worst([small, broken, large]) is broken
    assert Measure.worst([]) == Measure()


@pytest.mark.parametrize("unit", [1e-180, 1.0, 1e180])
def test_the_cosine_does_not_depend_on_the_unit(unit: float) -> None:
    expected, computed = np.array([3.0, 4.0]), np.array([4.0, 3.0])
    assert compare(unit * expected, unit * computed).cosine == pytest.approx(24 / 25)


def test_the_largest_difference_is_found_in_any_block() -> None:
    expected = np.zeros(3 * BLOCK + 5)
    for place in (0, BLOCK, 3 * BLOCK + 4):
        computed = expected.copy()
        computed[place] = -2.0
        measure = compare(expected, computed)
        assert (measure.max_abs, measure.worst_index) == (2.0, (place,))
        computed[place] = np.nan
        assert compare(expected, computed).problem is not None
