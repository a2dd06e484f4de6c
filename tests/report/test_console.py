"""What the terminal shows: eighty columns are enough, and a pipe gets no colours."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from porter import Conversion
from porter.parity.compare import Row
from porter.parity.diagnosis import Hint
from porter.parity.measure import Measure
from porter.report.as_json import worst_rows
from porter.report.console import out, parity_table, show_hints


def test_codes_of_emoji_in_a_file_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    out().print(":heart:")
    assert capsys.readouterr().out == ":heart:\n"


LONG = Row(
    "16.1.2.5.3.1",
    "nn.SpatialFractionalMaxPooling",
    "16×128×128×128",
    "torch7",
    Measure(1.0, 0.5),
    Measure(1.0, 0.7),
    1e-15,
    1e-7,
    hint=Hint("`bias` is left out", "port", 0.5, 1e-7),
)


def shown(rows: list[Row], width: int, terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, highlight=False)
    console.print(parity_table(rows, width))
    show_hints(console, rows)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_eighty_columns_hold_every_number_whole(converted: Conversion) -> None:
    text = shown([*worst_rows(converted.reports), LONG], 80)
    assert max(len(line) for line in text.splitlines()) <= 80
    for number in ("5.0e-01", "7.0e-01", "fail", "isolated", "16.1.2.5.3.1"):
        assert number in text
    assert "…" not in text
    assert "oracle: " in text


def test_a_wide_terminal_shows_shapes_and_oracles() -> None:
    text = shown([LONG], 160)
    assert "16×128×128×128" in text
    assert "torch7" in text


def test_hints_stand_below_the_table() -> None:
    text = shown([LONG], 160)
    assert text.splitlines()[-1].startswith("hint: 16.1.2.5.3.1 (nn.SpatialFractionalMaxPooling)")
    assert "the error drops from 5e-01 to 1e-07" in text


def test_a_pipe_gets_no_colours(capsys: pytest.CaptureFixture[str]) -> None:
    out().print(parity_table([LONG]))
    assert "\x1b" not in capsys.readouterr().out
    assert "\x1b" in shown([LONG], 160, terminal=True)


def test_a_pipe_gets_no_blanks_at_the_ends_of_lines(capsys: pytest.CaptureFixture[str]) -> None:
    short = Row("1", "nn.ReLU", "2", "numpy float64", Measure(1.0, 0.0), Measure(1.0, 0.0), 0, 0)
    out().print(parity_table([LONG, short]))
    out().print("text ")
    printed = capsys.readouterr().out
    assert "nn.ReLU" in printed
    assert [line for line in printed.split("\n") if line != line.rstrip()] == []
