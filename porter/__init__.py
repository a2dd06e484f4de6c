"""porter: trained Torch7 models in TensorFlow, with layer-by-layer proof of parity.

    import porter

    port = porter.convert("model.t7", output="model_tensorflow")
    print(port.summary())

The functions are the commands of the command line, with the same options as keyword arguments
(`porter/api.py`, docs/api.md). A layer map of your own imports from `porter.maps`.

Importing this package imports neither TensorFlow nor anything heavy; each name below is loaded at
first use.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from porter.api import check, convert, diff, inspect, open_model, read, stylize
    from porter.apps.check.checker import CheckResult
    from porter.apps.inspect import Inspection, PlainInspection
    from porter.apps.stylize.stylize import Stylization
    from porter.apps.transfer.job import transfer
    from porter.conversion.pipeline import Conversion
    from porter.errors import ParityError, PorterError, T7Error, UsageError, WalkError
    from porter.frontend.model_file import ModelFile
    from porter.parity.compare import Report
    from porter.torch7 import T7File

_HOME = {
    "CheckResult": "apps.check.checker",
    "Conversion": "conversion.pipeline",
    "Inspection": "apps.inspect",
    "ModelFile": "frontend.model_file",
    "ParityError": "errors",
    "PlainInspection": "apps.inspect",
    "PorterError": "errors",
    "Report": "parity.compare",
    "Stylization": "apps.stylize.stylize",
    "T7Error": "errors",
    "T7File": "torch7",
    "UsageError": "errors",
    "WalkError": "errors",
    "check": "api",
    "convert": "api",
    "diff": "api",
    "inspect": "api",
    "open_model": "api",
    "read": "api",
    "stylize": "api",
    "transfer": "apps.transfer.job",
}

__all__ = [
    "CheckResult",
    "Conversion",
    "Inspection",
    "ModelFile",
    "ParityError",
    "PlainInspection",
    "PorterError",
    "Report",
    "Stylization",
    "T7Error",
    "T7File",
    "UsageError",
    "WalkError",
    "check",
    "convert",
    "diff",
    "inspect",
    "open_model",
    "read",
    "stylize",
    "transfer",
]


class BesidePorter:
    """Finds `porter.layer_maps` beside this folder, in a clone without the symbolic link to it.

    Git on Windows makes no symbolic links unless it is told to.
    """

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Where the layer maps are, for the import system."""
        if name != "porter.layer_maps":
            return None
        here, file = Path(__file__).parent, Path("layer_maps", "__init__.py")
        beside = not (here / file).is_file() and (here.parent / file).is_file()
        return spec_from_file_location(name, here.parent / file) if beside else None


# Before the finders of editable installs, which may be of another clone.
sys.meta_path.insert(0, BesidePorter)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'porter' has no attribute '{name}'")
    return getattr(importlib.import_module(f"porter.{_HOME[name]}"), name)
