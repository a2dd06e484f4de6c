"""Write the numbers that the documentation states and that can be counted; `--check` compares them.

A number stands between markers: `<!-- count mutations -->135<!-- /count -->`. `COUNTS` has what can
be counted.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

FIXTURES = ROOT / "fixtures"
MARKED = re.compile(r"(<!-- count (?P<name>[\w-]+) -->)(?P<number>[^<]*)(<!-- /count -->)")


def mutations() -> int:
    """Layer maps that are broken on purpose, and must be refused."""
    # By name: tests are not type-checked.
    suite = importlib.import_module("tests.mutations.test_mutations")
    return len(suite.AGAINST_REFERENCE) + len(suite.AGAINST_RECORDING)


def classes() -> int:
    """Torch classes with a layer map or a structure rule."""
    from porter.apps import coverage

    return len(coverage.table())


COUNTS: dict[str, Callable[[], int]] = {
    "mutations": mutations,
    "classes": classes,
    "hostile-files": lambda: len(list((FIXTURES / "hostile").glob("*.t7"))),
    "cases": lambda: len(list((FIXTURES / "layers").glob("*/*.t7"))),
    "gradient-steps": lambda: len(list((FIXTURES / "gradients").glob("*/*.t7"))),
    "gradient-classes": lambda: len([p for p in (FIXTURES / "gradients").iterdir() if p.is_dir()]),
}


def pages() -> list[Path]:
    """The documentation."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def counted(text: str) -> str:
    """A page with every marked number as it is now. Raises KeyError for an unknown one."""
    return MARKED.sub(lambda m: f"{m[1]}{COUNTS[m['name']]():,}{m[4]}", text)


def main() -> int:
    """Write the numbers, or tell which pages are out of date."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="write nothing; fail if out of date")
    only_check = options.parse_args().check
    stale = 0
    for page in pages():
        old = page.read_text(encoding="utf-8")
        new = counted(old)
        if new == old:
            continue
        stale += 1
        if only_check:
            print(f"{page.relative_to(ROOT)} is out of date: run `make coverage`", file=sys.stderr)
        else:
            page.write_text(new, encoding="utf-8")
    return 1 if only_check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
