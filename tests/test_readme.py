"""The README and the tour are true: their commands run, their links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from porter.cli import main as cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")
RUN = [ROOT / "README.md", ROOT / "docs" / "tour.md"]
"""Pages whose commands `tools/readme_output.py` runs."""


def test_every_command_of_the_readme_and_the_tour_runs() -> None:
    done = subprocess.run(
        [sys.executable, "tools/readme_output.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_every_shown_porter_command_is_one_that_is_run(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"^\$ porter .*$", text, flags=re.MULTILINE)
    run = re.findall(r"<!-- run(?: exit=\d)? -->\n```console\n(\$ porter .*)\n", text)
    assert shown
    assert shown == run


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 140


def test_the_readme_explains_its_words_and_names_every_command() -> None:
    for word in ("oracle", "isolated", "accumulated", "preset", "descriptor"):
        assert f"*{word}*" in README or f"*{word}s*" in README
    for command in cli.COMMANDS:
        assert f"`porter {command}`" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        file = page.parent / target if target else page
        assert file.exists(), target
        if heading:
            assert heading in headings(file), f"{target}#{heading}"


def headings(file: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_two_make_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert f"\n{target}:" in makefile
