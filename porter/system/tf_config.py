"""This process's place in a cluster, from TF_CONFIG; does not import TensorFlow.

{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]},
 "task": {"type": "worker", "index": 0}}
"""

from __future__ import annotations

import json
import os

from porter.errors import UsageError

EXAMPLE = '{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}'


def task() -> tuple[int, int] | None:
    """This worker's index and the number of workers; None where TF_CONFIG is not set.

    Raises UsageError for an invalid TF_CONFIG.
    """
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return None
    try:
        body = json.loads(text)
        roles, kind = set(body["cluster"]), str(body["task"]["type"])
        count, index = len(body["cluster"]["worker"]), int(body["task"]["index"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError("TF_CONFIG cannot be read", received=text, hint=EXAMPLE) from error
    if kind != "worker" or roles != {"worker"} or not 0 <= index < count:
        raise UsageError(
            "TF_CONFIG names no worker of its cluster",
            received=text,
            hint='only tasks of type "worker" are used, with an index below their number',
        )
    return index, count
