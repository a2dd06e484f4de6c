"""Tools and benchmarks: each can be imported without what only some of them run; their numbers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools import count

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(
    f"{folder}.{path.stem}"
    for folder in ("tools", "benchmarks")
    for path in (ROOT / folder).glob("*.py")
    if path.stem != "__init__"
)


def test_every_module_can_be_imported_without_being_run() -> None:
    assert {"tools.format_table", "benchmarks.torch_net", "benchmarks.__main__"} <= set(MODULES)
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    done = subprocess.run(
        [sys.executable, "-c", code, *MODULES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("page", count.pages(), ids=lambda page: page.name)
def test_numbers_in_the_documentation_are_those_that_are_counted(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert count.counted(text) == text, "run `make coverage`"


def test_what_can_be_counted_is_counted_wherever_it_is_said() -> None:
    bare = re.compile(
        r"(?<![\d.,])\d{2,3} (?:hostile files|mutations|maps broken|broken and malicious|"
        r"single steps|recorded cases)"
    )
    for page in count.pages():
        found = bare.search(page.read_text(encoding="utf-8"))
        assert found is None, f"{page.name}: {found and found[0]}"


def test_an_old_number_is_replaced() -> None:
    old = "holds <!-- count gradient-steps -->7<!-- /count --> steps"
    new = count.counted(old)
    assert new != old
    assert count.counted(new) == new
    with pytest.raises(KeyError):
        count.counted("<!-- count nothing -->1<!-- /count -->")
