"""`python -O` drops asserts, but those of pytest's test files: the safety tests can fail in it.

Without that, `make safety` would prove nothing.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(("condition", "code"), [("True", 0), ("False", 1)])
def test_an_assert_of_a_test_counts_without_asserts(
    tmp_path: Path, condition: str, code: int
) -> None:
    (tmp_path / "test_it.py").write_text(f"def test_it():\n    assert {condition}\n")
    words = ["-O", "-m", "pytest", "-q", "-c", "/dev/null", "-p", "no:cacheprovider"]
    words += ["-p", "no:porter", "-W", "ignore::pytest.PytestConfigWarning"]
    done = subprocess.run(
        [sys.executable, *words, "--rootdir", tmp_path, tmp_path], capture_output=True, check=False
    )
    assert done.returncode == code, done.stdout
