"""The GPU benchmark, rehearsed on the CPU: what it writes, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu_parity import in_deviations, recorded_nets
from porter.torch7 import read
from porter.torch7.writer import write_t7
from tests.build import FIXTURES, lua

REPOSITORY = FIXTURES.parent
LENET = FIXTURES / "nets" / "lenet_mm_tanh"


def run_gpu(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *map(str, arguments)],
        cwd=REPOSITORY,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        check=False,
    )


def rehearse(folder: Path, *arguments: str | Path) -> tuple[int, dict[str, Any], str]:
    """Exit code, figures and Markdown: the nets below `folder` compared, U-Net timed."""
    figures = folder / "gpu.json"
    model = FIXTURES / "nets" / "unet_nested_concat" / "model.t7"
    timed = (model, "--shape", "1x3x32x32", "--rounds", "3")
    done = run_gpu(*timed, "--cpu", "--fixtures", folder, "--json", figures, *arguments)
    assert figures.exists(), done.stderr
    return done.returncode, json.loads(figures.read_text(encoding="utf-8")), done.stdout


def test_a_rehearsal_compares_and_times(tmp_path: Path) -> None:
    shutil.copytree(LENET, tmp_path / "lenet")
    code, found, page = rehearse(tmp_path)
    assert code == 0, page
    assert found["rehearsal"]
    assert found["gpu"] is None
    assert found["tensorflow"]
    assert {(row["tf32"], row["level"]) for row in found["parity"]} == {
        (tf32, level) for tf32 in (False, True) for level in ("exact", "fast")
    }
    for row in found["parity"]:
        assert row["passed"]
        assert 0 < row["torch7"] < 1e-5
        assert 0 < row["float64"] < 1e-5
    (net,) = found["times"]
    rows = {row["runtime"]: row for row in net["rows"]}
    assert {"none", "exact", "fast", "exact, XLA", "fast, XLA", "none, XLA"} < set(rows)
    for name, row in rows.items():
        if name != "PyTorch eager" or not row["problem"]:
            assert len(row["times"]) == 3, row
            assert row["error"] < 1e-5
    assert found["failed"] == found["problems"] == []
    assert found["left_out"] == {}
    assert "no GPU was used" in page
    assert "1 of 1 nets within" in page


def test_weights_other_than_the_recorded_ones_fail(tmp_path: Path) -> None:
    shutil.copytree(LENET, tmp_path / "lenet")
    root = read(LENET / "model.t7").root
    (first, *_) = (m for m in root.fields["modules"].list() if "weight" in m.fields)
    first.fields["weight"] = lua(first.fields["weight"].array * np.float32(1.01))
    write_t7(tmp_path / "lenet" / "model.t7", root)
    code, found, page = rehearse(tmp_path)
    assert code == 1
    assert [row["passed"] for row in found["parity"]] == [False] * 4
    assert {line.partition(":")[0] for line in found["failed"]} == {
        f"{tmp_path.name}/lenet, {level}, TF32 off" for level in ("exact", "fast")
    }
    assert "not within" in page


def test_what_there_was_no_time_for_is_named_and_is_no_success(tmp_path: Path) -> None:
    shutil.copytree(LENET, tmp_path / "lenet")
    code, found, page = rehearse(tmp_path, "--seconds", "0")
    assert code == 1
    assert found["parity"] == found["times"] == []
    assert "no net was compared" in page


def test_without_a_gpu_it_says_what_to_do() -> None:
    done = run_gpu()
    assert done.returncode == 2
    assert "no GPU" in done.stderr
    assert "tensorflow[and-cuda]" in done.stderr
    assert done.stdout == ""


def test_every_net_of_the_fixtures_is_compared_but_those_to_be_refused() -> None:
    names = {net.path.parent.name for net in recorded_nets([str(FIXTURES)])}
    recorded = {path.parent.name for path in FIXTURES.glob("nets/*/activations.t7")}
    assert recorded
    assert recorded <= names
    assert not [net for net in recorded_nets([str(FIXTURES)]) if "unknown" in net.path.name]


@pytest.mark.parametrize(
    ("expected", "error"),
    [([1.0, 3.0], 0.5), ([2.0, 2.0], 0.25)],
    ids=["in deviations", "an output that does not vary: of its magnitude"],
)
def test_errors_are_in_deviations_of_the_output(expected: list[float], error: float) -> None:
    array = np.array(expected)
    assert in_deviations([array], [array + np.array([0.0, 0.5])]) == pytest.approx(error)
