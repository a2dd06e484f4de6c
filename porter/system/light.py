"""For commands that look at a file and compute nothing: NumPy without threads, few collections."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

BLAS_THREADS = "OPENBLAS_NUM_THREADS"
"""Read when NumPy is imported; each thread spins for a while before it goes to sleep."""
RARELY = 300_000
"""Objects between collections: more than an inspection makes, and tens of megabytes at most."""


@contextmanager
def light() -> Iterator[None]:
    """While open, NumPy is imported with one thread, and garbage is collected rarely.

    Threads are as before where NumPy is there already, or where the user sets their number. What
    was created inside is collected with the oldest objects only, and not when the block ends; the
    process ends without the collection of all there is, which its end frees anyway.
    """
    atexit.unregister(gc.freeze)  # once, however often it is opened
    atexit.register(gc.freeze)
    thresholds = gc.get_threshold()
    sets_threads = "numpy" not in sys.modules and BLAS_THREADS not in os.environ
    if sets_threads:
        os.environ[BLAS_THREADS] = "1"
    gc.set_threshold(RARELY, *thresholds[1:])
    try:
        yield
    finally:
        pass_as_old()
        gc.set_threshold(*thresholds)
        if sets_threads:
            del os.environ[BLAS_THREADS]


def pass_as_old() -> None:
    """Move all objects to the oldest generation, without a look at them.

    Else the next allocation would start a collection of all that the block created. Where the
    caller has frozen some, nothing moves, since what is frozen would thaw.
    """
    if not gc.get_freeze_count():
        gc.freeze()
        gc.unfreeze()
