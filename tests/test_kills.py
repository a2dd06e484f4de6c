"""A few kills of each command, as `python -m tests.kills` does them in any number."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="this system cannot limit the size of files")

from tests import kills

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("kind", ["transfer", "stylize"])
def test_killed_commands_leave_nothing_or_all(kind: str, tmp_path: Path) -> None:
    """In a process of its own: this one has run TensorFlow, and cannot be forked any more."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    words = [sys.executable, "-m", "tests.kills", kind, "--runs", "2", "--seed", "1"]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]


def test_half_a_picture_is_found(tmp_path: Path) -> None:
    """The look at what was left can fail."""
    picture = tmp_path / "picture.png"
    picture.write_bytes(kills.STYLE.read_bytes()[:2000])
    with pytest.raises(OSError, match="truncated"):
        kills.whole_pictures(tmp_path)
    with pytest.raises(kills.Broken):
        kills.require(False, "what is wrong")
