"""Packages that only some commands need, and the command that installs one."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shlex
import subprocess
import sys
from typing import Any

from porter.errors import UsageError

LOWEST = {
    "ai-edge-litert": "2.1",
    "av": "15",
    "coremltools": "9.0",
    "jinja2": "3.0",
    "onnx": "1.17",
    "onnxruntime": "1.19",
    "ray[data]": "2.44",
    "safetensors": "0.4.3",
    "scipy": "1.10",
    "shtab": "1.6",
    "tensorboard": "2.19",
    "tf2onnx": "1.17",
    "torch": "2.4",
}
"""The lowest version of each, as pyproject.toml has it."""


def optional(module: str, package: str, user: str, otherwise: str = "") -> Any:
    """A module of an optional package.

    Raises UsageError where the package is not installed: `user` needs it, and `otherwise` is what
    can be done without it.
    """
    require(package, module.partition(".")[0], user, otherwise)
    return importlib.import_module(module)


def require(package: str, module: str, user: str, otherwise: str = "") -> None:
    """Raise UsageError if a package is not installed, importing nothing."""
    if importlib.util.find_spec(module) is None:
        raise UsageError(
            f"{user} needs the package {package}, which is not installed",
            hint=f"{install(package)}{otherwise}",
        )


def install(package: str) -> str:
    """The command that installs a package for the Python that runs now, to be pasted.

    It names the package itself: an extra of porter's would need to know where porter came from.
    """
    pip = [sys.executable, "-m", "pip", "install"]
    if importlib.util.find_spec("pip") is None:
        pip = ["uv", "pip", "install", "--python", sys.executable]
    words = [*pip, f"{package}>={LOWEST[package]}"]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
