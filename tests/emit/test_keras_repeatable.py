"""A `.keras` file that does not tell when it was made."""

from __future__ import annotations

import json
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from porter.emit.keras.repeatable import EPOCH, without_times
from porter.system.tensorflow import tf


def test_an_archive_has_no_time_and_loads_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras = tf.keras
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="one")])
    first, second = tmp_path / "first.keras", tmp_path / "second.keras"
    model.save(first)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(1e9))
    model.save(second)
    assert first.read_bytes() != second.read_bytes()
    for archive in (first, second):
        without_times(archive)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {EPOCH}
        assert json.loads(archive.read("metadata.json"))["keras_version"] == keras.__version__
    loaded = keras.models.load_model(first)
    for before, after in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
