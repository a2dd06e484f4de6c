"""One thread while something is measured, and as many as before afterwards."""

from __future__ import annotations

import os

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from porter.system.threads import TENSORFLOW_THREADS, one_thread


def blas_threads() -> list[int]:
    """Threads of the libraries that NumPy computes with."""
    np.ones((2, 2)) @ np.ones((2, 2))
    return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]


def test_one_thread_inside_and_as_before_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TENSORFLOW_THREADS[0], "7")
    monkeypatch.delenv(TENSORFLOW_THREADS[1], raising=False)
    before = blas_threads()
    with one_thread():
        assert {os.environ[name] for name in TENSORFLOW_THREADS} == {"1"}
        assert set(blas_threads()) <= {1}
    assert os.environ[TENSORFLOW_THREADS[0]] == "7"
    assert TENSORFLOW_THREADS[1] not in os.environ
    assert blas_threads() == before
