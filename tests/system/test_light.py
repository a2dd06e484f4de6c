"""Commands that only look: NumPy on one thread, few collections, and everything as before after."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref

import pytest

from porter.system.light import BLAS_THREADS, RARELY, light

THREADS = f"""
import os, sys
from porter.system.light import light
with light():
    import numpy
from threadpoolctl import threadpool_info
blas = [each for each in threadpool_info() if each["internal_api"] == "openblas"]
print(*{{each["num_threads"] for each in blas}}, os.environ.get("{BLAS_THREADS}"))
"""


def threads_of_numpy(**variables: str) -> list[str]:
    """The numbers of threads with which a fresh process imports NumPy, then the variable."""
    rest = {name: value for name, value in os.environ.items() if name != BLAS_THREADS}
    ran = subprocess.run(
        [sys.executable, "-c", THREADS],
        env=rest | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.split()


def test_numpy_is_imported_with_one_thread() -> None:
    *counts, variable = threads_of_numpy()
    assert set(counts) <= {"1"}
    assert variable == "None"


def test_the_users_number_of_threads_is_left_alone() -> None:
    assert threads_of_numpy(**{BLAS_THREADS: "2"})[-1] == "2"


def test_collections_are_rare_inside_and_as_before_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BLAS_THREADS, raising=False)
    before = gc.get_threshold()
    with light():
        assert gc.get_threshold() == (RARELY, *before[1:])
        assert BLAS_THREADS not in os.environ  # NumPy is there already
    assert gc.get_threshold() == before


class Ring:
    """Refers to itself: only a collection frees it."""

    def __init__(self) -> None:
        self.itself = self


def test_the_end_collects_nothing_and_keeps_garbage_collectable() -> None:
    phases: list[str] = []
    gc.collect()
    frozen = gc.get_freeze_count()

    def note(phase: str, info: dict[str, int]) -> None:
        phases.append(phase)

    gc.callbacks.append(note)
    try:
        with light():
            created = [Ring() for _ in range(10_000)]
        Ring()  # what is created next may start a collection
    finally:
        gc.callbacks.remove(note)
    assert phases == []
    assert gc.get_freeze_count() == frozen
    garbage = weakref.ref(created[0])
    del created
    gc.collect()
    assert garbage() is None


def test_what_the_caller_froze_stays_frozen() -> None:
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with light():
            pass
        assert gc.get_freeze_count() == frozen
    finally:
        gc.unfreeze()
