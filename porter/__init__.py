"""porter: trained Torch7 models in TensorFlow, with layer-by-layer proof of parity.

    from pathlib import Path
    from porter import Request, convert

    done = convert(Request(Path("model.t7"), Path("model_tensorflow")))

Importing this package imports neither TensorFlow nor anything heavy; each name below is loaded at
first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from porter.conversion.pipeline import Conversion, convert
    from porter.conversion.request import Request
    from porter.errors import PorterError
    from porter.frontend.model_file import open_model
    from porter.ir.layer_map import Accepts, LayerMap
    from porter.ir.options import Options
    from porter.ir.registry import register, structure
    from porter.parity.compare import Report, Tolerance
    from porter.torch7 import read

_HOME = {
    "Accepts": "ir.layer_map",
    "Conversion": "conversion.pipeline",
    "LayerMap": "ir.layer_map",
    "Options": "ir.options",
    "PorterError": "errors",
    "Report": "parity.compare",
    "Request": "conversion.request",
    "Tolerance": "parity.compare",
    "convert": "conversion.pipeline",
    "open_model": "frontend.model_file",
    "read": "torch7",
    "register": "ir.registry",
    "structure": "ir.registry",
}

__all__ = [
    "Accepts",
    "Conversion",
    "LayerMap",
    "Options",
    "PorterError",
    "Report",
    "Request",
    "Tolerance",
    "convert",
    "open_model",
    "read",
    "register",
    "structure",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'porter' has no attribute '{name}'")
    return getattr(importlib.import_module(f"porter.{_HOME[name]}"), name)
