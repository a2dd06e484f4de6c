"""A short run of the fuzzer for every kind of input file, with numbers that never change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.fuzz_inputs import KINDS, run

RUNS = 100


@pytest.mark.parametrize("name", KINDS)
def test_changed_bytes_are_read_or_refused(name: str, tmp_path: Path) -> None:
    assert run(name, RUNS, seed=2026, folder=tmp_path / "case", keep=tmp_path) == 0
