"""Every recorded case of every Torch class: what porter computes is what a real Torch7 computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.apps.check.checker import DOUBLE, Checker, find, run
from porter.parity.compare import Tolerance
from tests.build import FIXTURES

CASES = FIXTURES / "layers"
CLASSES = sorted(folder.name for folder in CASES.iterdir() if folder.is_dir())


@pytest.fixture(scope="module")
def checker() -> Checker:
    """With porter's own tolerances: errors in units of each layer's scale."""
    return Checker(tolerance=Tolerance(isolated=1e-5, accumulated=1e-4, float64=1e-10))


def test_cases_recorded_in_double_precision_are_held_to_it() -> None:
    assert DOUBLE.isolated == 1e-10


@pytest.mark.parametrize("typename", CLASSES)
def test_all_cases_of_a_class(typename: str, checker: Checker) -> None:
    fixtures = find([CASES / typename])
    assert len(fixtures) == len(list((CASES / typename).glob("*.t7"))) > 0
    results = run(fixtures, checker)
    failed = {Path(result.path).stem: result.message for result in results if result.message}
    assert failed == {}
    assert {result.status for result in results} == {"pass"}
