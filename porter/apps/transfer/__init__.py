"""Optimise an image: content from one image, style from others (Gatys et al., 2016).

    from porter.apps.transfer import open_descriptor, read_recipe, transfer

    result = transfer(content, [style], "vgg19.t7", read_recipe("gatys"))

Descriptors and losses are useful by themselves: `descriptor.py` and `losses.py`. Names are loaded
at first use, since TensorFlow takes seconds to import.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Descriptor": "descriptor",
    "Recipe": "recipe",
    "content_loss": "losses",
    "gram_matrix": "losses",
    "open_descriptor": "descriptor",
    "read_recipe": "recipe",
    "style_loss": "losses",
    "total_variation": "losses",
    "transfer": "job",
}

__all__ = [
    "Descriptor",
    "Recipe",
    "content_loss",
    "gram_matrix",
    "open_descriptor",
    "read_recipe",
    "style_loss",
    "total_variation",
    "transfer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'porter.apps.transfer' has no attribute '{name}'")
    return getattr(importlib.import_module(f"porter.apps.transfer.{_HOME[name]}"), name)
