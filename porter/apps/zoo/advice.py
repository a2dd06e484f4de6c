"""What errors say of a file that holds a published system: its name, and what converts it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from porter import torch7
from porter.apps.zoo.systems import looks_like
from porter.errors import SeveralModules, ShapeNeeded, UnmappedModules
from porter.frontend.model_file import choose
from porter.frontend.selection import find_modules, outermost
from porter.ir.registry import Registry
from porter.torch7 import T7File


@contextmanager
def systems_named(
    path: str | os.PathLike[str], registry: Registry, select: str | None
) -> Iterator[None]:
    """While open, an error that leaves the user to choose says which systems the file holds."""
    try:
        yield
    except (SeveralModules, ShapeNeeded, UnmappedModules) as error:
        named = candidates(torch7.read(path), os.fspath(path), registry, select)
        error.hint = "\n".join(filter(None, [*named, error.hint]))
        raise


def candidates(file: T7File, name: str, registry: Registry, select: str | None) -> list[str]:
    """A line for each module of a file, or the selected one, that looks like a system."""
    found = outermost(dict(find_modules(file.root, registry)))
    paths = list(found) if select is None else [select]
    lines: list[str] = []
    for path in paths:
        chosen = path if select is not None or len(paths) > 1 else None
        opened = choose(file, name, registry, chosen)
        lines += [
            f"{path or 'it'} looks like {system.title}: `{system.command(name, chosen)}`"
            for system in looks_like(opened)
        ]
    return lines
