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
    from porter.layer import Accepts, LayerMap
    from porter.model_file import open_model
    from porter.options import Options
    from porter.parity.compare import Report, Tolerance
    from porter.reader import read
    from porter.registry import register, structure

_HOME = {
    "Accepts": "layer",
    "Conversion": "conversion.pipeline",
    "LayerMap": "layer",
    "Options": "options",
    "PorterError": "errors",
    "Report": "parity.compare",
    "Request": "conversion.request",
    "Tolerance": "parity.compare",
    "convert": "conversion.pipeline",
    "open_model": "model_file",
    "read": "reader",
    "register": "registry",
    "structure": "registry",
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
