"""What changed between two JSON reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from porter.cli import main as cli
from porter.errors import UsageError
from porter.parity.compare import Report, Row
from porter.parity.measure import Measure
from porter.report import drift
from porter.report.as_json import report_json


def report(path: Path, **errors: float) -> Path:
    """A report whose layers have these isolated errors."""
    rows = tuple(
        Row(name, "nn.X", "1", "torch7", isolated=Measure(error, error), accumulated=Measure())
        for name, error in errors.items()
    )
    body = report_json([Report(rows, "input", "torch7")])
    path.write_text(json.dumps(body), encoding="utf-8")
    return path


def compared(tmp_path: Path, old: dict[str, float], new: dict[str, float]) -> drift.Drift:
    first, second = report(tmp_path / "old.json", **old), report(tmp_path / "new.json", **new)
    return drift.compare(drift.read(first), drift.read(second))


def test_nothing_changed(tmp_path: Path) -> None:
    found = compared(tmp_path, {"a": 1e-6, "b": 0.0}, {"a": 2e-6, "b": 1e-7})
    assert found.worse == ()
    assert found.better == ()
    assert found.compared == 2


def test_more_than_ten_times_worse_is_drift(tmp_path: Path) -> None:
    found = compared(tmp_path, {"a": 3e-7, "b": 3e-7}, {"a": 2.9e-6, "b": 3.1e-6})
    (change,) = found.worse
    assert (change.name, change.what, change.before, change.after) == (
        "b",
        "isolated",
        3e-7,
        3.1e-6,
    )


def test_rounding_is_not_drift(tmp_path: Path) -> None:
    assert compared(tmp_path, {"a": 1e-12}, {"a": 1e-7}).worse == ()
    assert len(compared(tmp_path, {"a": 1e-12}, {"a": 2e-6}).worse) == 1


def test_improvements_are_told_and_fail_nothing(tmp_path: Path) -> None:
    found = compared(tmp_path, {"a": 9e-6}, {"a": 2e-7})
    assert found.worse == ()
    assert [change.name for change in found.better] == ["a"]


def test_a_failing_or_missing_layer_is_worse_and_a_new_one_is_not(tmp_path: Path) -> None:
    found = compared(tmp_path, {"a": 9e-6, "b": 0.0}, {"a": 2e-5, "c": 0.0})
    assert [(change.name, change.what) for change in found.worse] == [
        ("a", "fails now"),
        ("b", "is missing in the new report"),
    ]
    assert found.added == ("c",)


def test_results_of_check_are_compared_too(tmp_path: Path) -> None:
    def results(path: Path, error: float) -> Path:
        entry = {"path": "x.t7", "status": "pass", "isolated": error, "accumulated": None}
        path.write_text(json.dumps({"results": [entry], "summary": {}}), encoding="utf-8")
        return path

    old, new = results(tmp_path / "a.json", 1e-6), results(tmp_path / "b.json", 2e-5)
    assert [c.name for c in drift.compare(drift.read(old), drift.read(new)).worse] == ["x.t7"]


@pytest.mark.parametrize("body", ["[]", "{}", "no json", '{"schema": 9, "layers": []}'])
def test_other_files_are_refused(tmp_path: Path, body: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(body, encoding="utf-8")
    with pytest.raises(UsageError, match="report"):
        drift.read(path)


@pytest.mark.parametrize(("after", "code"), [(2e-7, 0), (9e-6, 1)])
def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], after: float, code: int
) -> None:
    old, new = report(tmp_path / "a.json", x=2e-7), report(tmp_path / "b.json", x=after)
    assert cli.main(["diff", str(old), str(new)]) == code
    assert ("1 worse" if code else "no drift") in capsys.readouterr().out
    assert cli.main(["diff", str(old), str(new), "--factor", "100", "--json"]) == 0
    body: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert body["verdict"] == "pass"


def test_a_factor_below_one_is_refused(tmp_path: Path) -> None:
    old = report(tmp_path / "a.json", x=0.0)
    assert cli.main(["diff", str(old), str(old), "--factor", "0.5"]) == 2
