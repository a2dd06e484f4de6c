"""Reproducible results, on any number of cores.

The number of threads decides the order in which a sum is added, and so the last digits of every
measured error. Verification therefore runs on one thread, which on small inputs is also fastest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

TENSORFLOW_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
"""Read when TensorFlow starts, in this process and its children."""


@contextmanager
def one_thread() -> Iterator[None]:
    """While open, NumPy computes on one thread, and so does TensorFlow if it starts meanwhile.

    A TensorFlow that is already running keeps its threads.
    """
    before = {name: os.environ.get(name) for name in TENSORFLOW_THREADS}
    os.environ.update(dict.fromkeys(TENSORFLOW_THREADS, "1"))
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
