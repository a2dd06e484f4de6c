"""The registry of one run: porter's layer maps, the user's own, and classes taken as identity."""

from __future__ import annotations

import os
from collections.abc import Iterable

from layer_maps import default_registry
from porter.ir.registry import Registry, load_layer_maps, with_identity


def registry_with(
    layer_maps: Iterable[str | os.PathLike[str]] = (), identity: Iterable[str] = ()
) -> Registry:
    """porter's maps and those of Python files, which are executed; `identity` names Torch classes
    that hand their input on unchanged. Raises UsageError for a file that cannot be loaded."""
    registry = default_registry()
    for path in layer_maps:
        registry = load_layer_maps(os.fspath(path), registry)
    return with_identity(registry, list(identity))
