"""TensorFlow, imported quietly: its log never reaches the user's terminal.

Importing this module takes seconds: code that only reads, walks or describes models must not.

One change to the process remains, because TensorFlow has no other switch: the levels of its Python
logger and of autograph's, unless the program imported TensorFlow before. File descriptor 2 and the
environment are restored when the import ends; what other threads write to descriptor 2 in those
seconds is held back too.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from porter.system.quiet import quiet_stderr


@contextmanager
def log_level(level: str) -> Iterator[None]:
    """Import TensorFlow inside the block to set its C++ log `level`, which it reads once."""
    before = os.environ.get(LOG_LEVEL)
    os.environ.setdefault(LOG_LEVEL, level)
    try:
        yield
    finally:
        if before is None:
            del os.environ[LOG_LEVEL]


LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
LOADED_BEFORE = "tensorflow" in sys.modules
"""Whether the program imported TensorFlow before porter; then its logging is left alone."""

with warnings.catch_warnings(), quiet_stderr(), log_level("3"):
    warnings.simplefilter("ignore")
    import tensorflow
    from tensorflow.core.protobuf import fingerprint_pb2 as fingerprint_pb2
    from tensorflow.core.protobuf import saved_model_pb2 as saved_model_pb2

    if not LOADED_BEFORE:
        tensorflow.get_logger().setLevel("ERROR")
        tensorflow.autograph.set_verbosity(0)
    # The first use of a device logs once more. In a cluster, TensorFlow must know the other workers
    # before that.
    if not os.environ.get("TF_CONFIG"):
        tensorflow.constant(0.0)

tf: Any = tensorflow
