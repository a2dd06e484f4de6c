"""The registry of one run: porter's layer maps, the user's own, and classes treated as others."""

from __future__ import annotations

import os
from collections.abc import Iterable

from porter.ir.registry import Registry, load_layer_maps, with_aliases, with_identity
from porter.layer_maps import default_registry


def registry_with(
    layer_maps: Iterable[str | os.PathLike[str]] = (),
    identity: Iterable[str] = (),
    map: Iterable[str] = (),
) -> Registry:
    """porter's maps and those of Python files, which are executed; `identity` names Torch classes
    that hand their input on unchanged, `map` treats classes as known ones: "nn.My=nn.Sequential".

    Raises UsageError for a file that cannot be loaded, or a class that nobody knows.
    """
    registry = default_registry()
    for path in layer_maps:
        registry = load_layer_maps(os.fspath(path), registry)
    return with_identity(with_aliases(registry, map), list(identity))
