"""Models and conversions that several tests look at; each is made once in a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter import Conversion, Request, convert
from porter.registry import Registry, default_registry
from tests.build import small_net
from tests.write_t7 import write_t7


@pytest.fixture
def registry() -> Registry:
    """A copy of porter's maps, for a test to change."""
    return default_registry().copy()


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small_net` on disk."""
    return write_t7(tmp_path_factory.mktemp("models") / "small.t7", small_net())


@pytest.fixture(scope="session")
def converted(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """`small_net`, converted. Do not write into its folder."""
    return convert(Request(model_path, tmp_path_factory.mktemp("ports") / "small"))
