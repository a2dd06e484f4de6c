"""The README is true: its commands run, its links lead somewhere, its table is current."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_of_the_readme_runs() -> None:
    done = subprocess.run(
        [sys.executable, "tools/readme_output.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_shown_porter_command_is_one_that_is_run() -> None:
    shown = re.findall(r"^\$ porter .*$", README, flags=re.MULTILINE)
    run = re.findall(r"<!-- run(?: exit=\d)? -->\n```console\n(\$ porter .*)\n", README)
    assert shown == run


def test_the_links_of_the_readme_lead_to_files() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert targets
    assert not missing


def test_the_two_make_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert f"\n{target}:" in makefile
