"""Whether NaN may reach the layers of a model, though its input holds none.

Rectifiers treat NaN in several ways, THNN's as 0, and TensorFlow's own depends on what it is fused
with. A port says which it wants only where NaN can come: what every other net runs stays as fast.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from porter.frontend.module_tree import histogram
from porter.frontend.weights import modules, tensors
from porter.ir.options import Options
from porter.ir.registry import Registry, is_layer_map
from porter.torch7 import TorchObject


def nonfinite_parameters(root: TorchObject, registry: Registry) -> list[str]:
    """Kept tensors that hold NaN or infinity, as `weight of 3 (nn.Linear)`."""
    return [
        f"{name} of {path or 'the root'} ({module.typename})"
        for path, module in modules(root, registry)
        for name, tensor in tensors(module)
        if tensor.dtype.kind == "f" and not np.isfinite(tensor.array).all()
    ]


def with_nan(root: TorchObject, registry: Registry, options: Options) -> Options:
    """Options that say whether NaN may come: from a parameter, or of a class that makes it."""
    handlers = [registry[name] for name in histogram(root) if name in registry]
    makes_nan = any(is_layer_map(handler) and handler.makes_nan for handler in handlers)
    return replace(options, nan=makes_nan or bool(nonfinite_parameters(root, registry)))
