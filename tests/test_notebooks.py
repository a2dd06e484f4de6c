"""The tutorials run from the first cell to the last, as whoever opens them runs them."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
import pytest

from tools.notebooks import FOLDER, execute

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", folder, prepend=":")
    execute(path)


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) == 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_notebook_printed_is_kept(path: Path) -> None:
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    assert any(cell.outputs for cell in cells)
    outputs = [output for cell in cells for output in cell.outputs]
    assert all(o.output_type != "error" and o.get("name") != "stderr" for o in outputs)
