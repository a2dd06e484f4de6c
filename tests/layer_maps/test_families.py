"""Which family registers a class is read in its text, and only families in use are imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from porter.errors import UsageError
from porter.ir.registry import Registry, register, registering_into, with_aliases
from porter.layer_maps import default_registry, families
from porter.torch7.writer import write_t7
from tests.build import linear, sequential

INSPECTED = """
import sys
from porter import inspect
inspect(sys.argv[1])
print(*(name for name in sys.modules if name.startswith("porter.layer_maps.")))
"""


def test_every_class_is_found_in_the_family_that_registers_it() -> None:
    defined = {name: rule.__module__ for name, rule in default_registry().handlers.items()}
    assert families() == defined, "@register(…) and @structure(…) name classes by literals"


def test_only_the_families_in_use_are_imported(tmp_path: Path) -> None:
    path = tmp_path / "model.t7"
    write_t7(path, sequential(linear(3, 2)))
    done = subprocess.run(
        [sys.executable, "-c", INSPECTED, str(path)], capture_output=True, text=True, check=True
    )
    imported = {name.rpartition(".")[2] for name in done.stdout.split()}
    assert imported >= {"containers", "linear"}
    assert not imported & {"convolution", "pooling", "opennmt", "stereo", "batch_normalization"}


def lazy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typename: str) -> Registry:
    """A registry with one family that is not imported yet."""
    name = f"family_of_{typename.rpartition('.')[2].lower()}"
    rule = "def rule(walk, module, x): return x"
    text = (
        f"from porter.maps import structure\n\n@structure({typename!r}, over_time=True)\n{rule}\n"
    )
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return Registry(families={typename: name})


def test_a_family_is_imported_when_its_class_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = lazy(tmp_path, monkeypatch, "my.First")
    assert "my.First" in registry
    assert not registry.imported
    assert registry.get("my.Other") is None
    with registering_into(Registry()) as other:
        assert registry["my.First"].__module__ == "family_of_first"
    assert not other.handlers, "a family belongs to the registry that knows it"
    assert not registry.families


def test_containers_over_time_are_known_before_their_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = lazy(tmp_path, monkeypatch, "my.Second")
    assert registry.runs_over_time("my.Second")
    assert not registry.runs_over_time("my.Other")


def test_a_second_map_is_refused_before_the_import_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = lazy(tmp_path, monkeypatch, "my.Third")
    with registering_into(registry), pytest.raises(UsageError, match="already mapped in"):
        register("my.Third")(Registry)
    with registering_into(registry):
        register("my.Third", override=True)(Registry)
    assert registry["my.Third"] is Registry


def test_copies_and_aliases_have_every_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = lazy(tmp_path, monkeypatch, "my.Fourth")
    extended = with_aliases(registry, ["my.Net=my.Fourth"])
    assert extended["my.Net"] is registry["my.Fourth"]
    assert extended.runs_over_time("my.Net")
    assert "my.Net" not in registry
