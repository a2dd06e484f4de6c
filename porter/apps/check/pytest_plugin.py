"""pytest plugin: `pytest --porter fixtures/` makes every fixture of a model a test.

Loaded by pytest wherever porter is installed, so it imports nothing heavy until the flag is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from porter.apps.check.checker import Checker, CheckResult
    from porter.apps.check.fixtures import Fixture


class Differs(Exception):
    """A fixture did not pass; the message says where."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("porter").addoption(
        "--porter", action="store_true", help="test every Torch7 fixture below the given paths"
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A `.t7` file that is a fixture's model."""
    if file_path.suffix != ".t7" or not parent.config.getoption("--porter"):
        return None
    from porter.apps.check.fixtures import classify

    if classify(file_path) is None:
        return None
    collector: FixtureFile = FixtureFile.from_parent(parent, path=file_path)
    return collector


class FixtureFile(pytest.File):
    """A file with one test."""

    def collect(self) -> Iterator[FixtureItem]:
        from porter.apps.check.fixtures import classify

        fixture = classify(self.path)
        assert fixture is not None
        yield FixtureItem.from_parent(self, name=fixture.kind, fixture=fixture)


class FixtureItem(pytest.Item):
    """One model, compared layer by layer with what Torch recorded."""

    checker: Checker | None = None

    def __init__(self, *, fixture: Fixture, name: str, parent: pytest.Collector) -> None:
        super().__init__(name, parent)
        self.fixture = fixture

    def runtest(self) -> None:
        from porter.apps.check.checker import Checker

        # One checker for all: it holds the registry.
        FixtureItem.checker = FixtureItem.checker or Checker()
        result: CheckResult = FixtureItem.checker.check(self.fixture)
        if result.status != "pass":
            raise Differs(f"{result.status}: {result.message}")

    def repr_failure(  # type: ignore[override]
        self, excinfo: pytest.ExceptionInfo[BaseException]
    ) -> str:
        if isinstance(excinfo.value, Differs):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, f"{self.path}::{self.name}"
