"""The same bytes out for the same bytes in, on as many cores as there may be.

How many threads share a sum decides in which order it is added, and with that the last digits of
every measured error. Verification therefore runs on one thread; on small inputs that is also the
fastest way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

TENSORFLOW_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
"""Read when TensorFlow starts, in this process and in those that it starts."""


@contextmanager
def one_thread() -> Iterator[None]:
    """While open, NumPy computes on one thread, and a TensorFlow that starts as well.

    A TensorFlow that the caller has started before keeps its threads.
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
