"""TensorFlow, imported quietly: its log never reaches the user's terminal.

Importing this module takes seconds. Whatever only reads, walks or describes must not import it.

What stays changed in the process, because TensorFlow has no other switch: the level of its Python
logger and of autograph's, unless the program imported TensorFlow before. File descriptor 2 and the
environment are as before when the import ends; what other threads write to descriptor 2 in those
seconds is kept back too.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keep what C++ code writes to file descriptor 2; show it only if the block fails.

    TensorFlow's libraries log before any Python setting takes effect.
    """
    saved = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            kept.seek(0)
            os.write(2, kept.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


@contextmanager
def log_level(level: str) -> Iterator[None]:
    """While open, a TensorFlow that is loaded takes `level` for its C++ log; it reads it once."""
    before = os.environ.get(LOG_LEVEL)
    os.environ.setdefault(LOG_LEVEL, level)
    try:
        yield
    finally:
        if before is None:
            del os.environ[LOG_LEVEL]


LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
LOADED_BEFORE = "tensorflow" in sys.modules
"""Whether the program had imported TensorFlow already; then its logging is the program's own."""

with warnings.catch_warnings(), quiet_stderr(), log_level("3"):
    warnings.simplefilter("ignore")
    import tensorflow
    from tensorflow.core.protobuf import fingerprint_pb2 as fingerprint_pb2

    if not LOADED_BEFORE:
        tensorflow.get_logger().setLevel("ERROR")
        tensorflow.autograph.set_verbosity(0)
    # The first use of a device logs once more. One of several workers must tell TensorFlow of the
    # others before.
    if not os.environ.get("TF_CONFIG"):
        tensorflow.constant(0.0)

tf: Any = tensorflow
