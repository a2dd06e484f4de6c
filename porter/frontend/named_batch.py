"""The number of samples that a model names in a shape: nn.View(32, 12800) behind a convolution."""

from __future__ import annotations

from porter.errors import PorterError
from porter.frontend.module_tree import submodules
from porter.frontend.walker import Model
from porter.ir.registry import is_layer_map

MAX_BATCH = 1024
"""Samples in a batch; published nets were trained with fewer."""


def named_batches(model: Model) -> list[int]:
    """What layers that reshape whole batches have as their first size, the first of them first."""
    found: dict[int, None] = {}
    for _, module in submodules(model.root):
        if module.typename not in model.registry:
            continue
        handler = model.registry[module.typename]
        if not is_layer_map(handler) or not handler.regroups:
            continue
        try:
            sizes = getattr(model.op(module), "size", ())
        except PorterError:
            continue
        if isinstance(sizes, tuple) and len(sizes) > 1 and 1 < sizes[0] <= MAX_BATCH:
            found[sizes[0]] = None
    return list(found)
