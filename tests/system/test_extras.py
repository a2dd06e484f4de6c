"""What is heavy is optional, and a message says how to get it."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from porter.apps.stylize.runners import litert
from porter.apps.transfer.optimizers import scipy_optimize
from porter.emit import formats
from porter.errors import UsageError
from porter.report.tensorboard import require_tensorboard
from porter.system.extras import LOWEST, install

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
FIND = importlib.util.find_spec


def without(*modules: str) -> Callable[[str], ModuleSpec | None]:
    """`find_spec` where some modules are not installed."""
    return lambda name: None if name in modules else FIND(name)


def test_the_lowest_versions_are_those_of_the_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [each for group in project["optional-dependencies"].values() for each in group]
    bounds = dict(
        re.findall(r"^([\w-]+(?:\[data\])?)>=([\d.]+)$", "\n".join(extras), flags=re.MULTILINE)
    )
    assert {name: bounds.get(name) for name in LOWEST} == LOWEST


@pytest.mark.parametrize("package", LOWEST)
def test_the_command_names_the_package_and_this_python(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "pip")
    assert shlex.split(install(package)) == [
        *(sys.executable, "-m", "pip", "install"),
        f"{package}>={LOWEST[package]}",
    ]


def test_where_there_is_no_pip_uv_installs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", without("pip"))
    command = shlex.split(install("scipy"))
    assert command == ["uv", "pip", "install", "--python", sys.executable, "scipy>=1.10"]


@pytest.mark.parametrize(
    ("module", "package", "use"),
    [
        ("scipy", "scipy", scipy_optimize),
        ("tensorboard", "tensorboard", require_tensorboard),
        ("ai_edge_litert", "ai-edge-litert", lambda: formats.find("tflite").check({})),
        ("ai_edge_litert", "ai-edge-litert", lambda: formats.find("web").check({})),
        ("coremltools", "coremltools", lambda: formats.find("coreml").check({})),
        ("ai_edge_litert", "ai-edge-litert", lambda: litert(Path("model.tflite"))),
    ],
)
def test_what_is_missing_is_named_before_work_starts(
    monkeypatch: pytest.MonkeyPatch, module: str, package: str, use: Callable[[], object]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", without(module))
    with pytest.raises(UsageError, match=f"needs the package {package}") as caught:
        use()
    assert str(caught.value.hint).startswith(install(package))
