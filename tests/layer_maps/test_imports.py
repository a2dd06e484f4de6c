"""A layer map is written from one import, `porter.maps`, which only re-exports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import porter.layer_maps
import porter.maps
from porter.apps import scaffold
from tests.build import torch_module

FILES = sorted(Path(porter.layer_maps.__path__[0]).glob("*.py"))


def imported_modules(source: str) -> Iterator[str]:
    """Every module that a source imports, at whatever depth."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            yield node.module or ""


def imports_of_porter(source: str) -> set[str]:
    """What a source imports of porter, other layer maps apart."""
    names = {name for name in imported_modules(source) if name.partition(".")[0] == "porter"}
    return {name for name in names if not f"{name}.".startswith("porter.layer_maps.")}


def test_there_are_layer_maps() -> None:
    assert len(FILES) > 40


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_of_layer_maps_imports_the_facade_only(path: Path) -> None:
    assert imports_of_porter(path.read_text(encoding="utf-8")) <= {"porter.maps"}


def test_a_scaffold_imports_the_facade_only() -> None:
    module = torch_module("my.Layer", size=3)
    assert imports_of_porter(scaffold.stub("my.Layer", module)) == {"porter.maps"}


def test_the_facade_exports_exactly_what_it_imports() -> None:
    tree = ast.parse(Path(porter.maps.__file__).read_text(encoding="utf-8"))
    statements = [node for node in tree.body if not isinstance(node, ast.Expr)]
    *imports, exports = statements
    assert all(isinstance(node, ast.ImportFrom) for node in imports)
    assert isinstance(exports, ast.Assign), "the façade defines nothing but __all__"
    names = {
        alias.asname or alias.name
        for node in imports
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    assert set(porter.maps.__all__) == names
    assert len(porter.maps.__all__) == len(names)
