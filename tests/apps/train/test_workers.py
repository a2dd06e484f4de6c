"""Two workers on this machine are one; one that dies stops both, and both go on."""

from __future__ import annotations

import time

import numpy as np
import pytest

from porter.errors import UsageError
from porter.system.tf_config import task
from tests.apps.train.conftest import Make
from tests.apps.train.runs import last_checkpoint, start, start_workers


def test_two_workers_equal_one_with_the_same_batch(options: Make, tmp_path: object) -> None:
    settings = {"batch_size": 4, "num_iterations": 20, "save_every": 20}
    workers = start_workers(options(**settings, output=options().output / "two"), 2)
    first, second = (each.reported() for each in workers)
    alone = start(options(**settings, output=options().output / "one")).reported()
    assert first["losses"] == second["losses"]
    assert first["weights"] == second["weights"]
    assert len(first["losses"]) == 20
    np.testing.assert_allclose(first["losses"], alone["losses"], rtol=1e-5)


def test_a_worker_that_dies_comes_back_from_the_last_checkpoint(options: Make) -> None:
    train_options = options(batch_size=2, num_iterations=100_000)
    chief, other = start_workers(train_options, 2)
    state = train_options.output / "checkpoints" / "checkpoint"
    waited = time.monotonic() + 200
    while not state.exists() and chief.process.poll() is None and time.monotonic() < waited:
        time.sleep(0.05)
    other.kill()
    assert chief.died() != 0, "the other worker is needed for every iteration"
    last = last_checkpoint(train_options)
    again = [
        each.reported() for each in start_workers(options(batch_size=2, num_iterations=last + 2), 2)
    ]
    assert [each["start"] for each in again] == [last, last]
    assert again[0]["weights"] == again[1]["weights"]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"ps": ["a:1"], "worker": ["b:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_a_tf_config_that_names_no_worker_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UsageError, match="TF_CONFIG"):
        task()
