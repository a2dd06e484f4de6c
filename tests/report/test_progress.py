"""Progress without a terminal: a line now and then, and none where it is not asked for."""

from __future__ import annotations

import time

import pytest

from porter.report import progress as module
from porter.report.progress import Lines, lines_every, progress


def test_a_line_tells_stage_layer_and_count() -> None:
    lines = Lines()
    task = lines.add_task("start", total=4)
    lines.update(task, advance=1, description="verify 3.1 nn.ReLU")
    assert lines.line().endswith("s  1/4 verify 3.1 nn.ReLU")
    lines.update(task, description="\x1b[31m")
    assert "\x1b" not in lines.line()


def test_lines_come_while_one_layer_takes_long(capsys: pytest.CaptureFixture[str]) -> None:
    shown = ""
    with lines_every(0.01) as display:
        display.update(display.add_task("start"), description="verify 7 nn.Linear")
        deadline = time.monotonic() + 60
        while "verify 7 nn.Linear" not in shown and time.monotonic() < deadline:
            time.sleep(0.01)
            shown += capsys.readouterr().err
    assert "verify 7 nn.Linear" in shown
    capsys.readouterr()
    time.sleep(0.05)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("quiet", [False, True])
def test_quiet_shows_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], quiet: bool
) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.01)
    with progress(quiet) as display:
        display.add_task("start")
        time.sleep(0.5)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert bool(captured.err) is not quiet
