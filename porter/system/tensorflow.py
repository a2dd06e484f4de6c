"""TensorFlow, imported quietly: its log never reaches the user's terminal.

Importing this module takes seconds. Whatever only reads, walks or describes must not import it.
"""

from __future__ import annotations

import os
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


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

with warnings.catch_warnings(), quiet_stderr():
    warnings.simplefilter("ignore")
    import tensorflow
    from tensorflow.core.protobuf import fingerprint_pb2 as fingerprint_pb2

    tensorflow.get_logger().setLevel("ERROR")
    tensorflow.autograph.set_verbosity(0)
    # The first use of a device logs once more. One of several workers must tell TensorFlow of the
    # others before.
    if not os.environ.get("TF_CONFIG"):
        tensorflow.constant(0.0)

tf: Any = tensorflow
