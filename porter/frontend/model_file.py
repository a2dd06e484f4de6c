"""Find the network in a `.t7` file: a module, or a checkpoint table that holds one or several."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter import torch7
from porter.errors import UsageError, WrongFile
from porter.frontend.module_tree import is_module, require_mapped
from porter.frontend.run_mode import decide
from porter.frontend.walker import Model
from porter.ir.options import Options
from porter.ir.registry import Registry
from porter.torch7 import T7File, Table, TorchObject, describe
from porter.torch7.recorder import is_recording

MAX_TABLES = 4
"""Tables in tables that are searched for modules."""


@dataclass(frozen=True)
class ModelFile:
    """A file and the module in it that was chosen; `wrapper` names the table's other keys."""

    file: T7File
    root: TorchObject
    selected: str
    wrapper: dict[str, str]
    registry: Registry

    def model(self, options: Options | None = None) -> Model:
        """The module tree, ready to be walked. Raises UnmappedModules naming all such classes."""
        require_mapped(self.root, self.registry)
        return Model(self.root, self.registry, decide(self.root, options or Options()).options)


def open_model(
    path: str | os.PathLike[str], registry: Registry, select: str | None = None
) -> ModelFile:
    """Read a file and find its module. Raises T7Error, or UsageError where there are several."""
    file = torch7.read(path)
    return choose(file, os.fspath(path), registry, select)


def choose(file: T7File, name: str, registry: Registry, select: str | None = None) -> ModelFile:
    """The module of a file that was read."""
    found = dict(find_modules(file.root, registry))
    wrapper = (
        {str(key): describe(file.root[key]) for key in file.root.keys()}
        if isinstance(file.root, Table)
        else {}
    )
    listed = "\n".join(f"  {key or '(the root)'}: {found[key].typename}" for key in found)
    if select is not None:
        if select not in found:
            raise UsageError(
                f"{name} holds no module at '{select}'",
                hint=f"modules in this file:\n{listed}" if found else None,
            )
        return ModelFile(file, found[select], select, wrapper, registry)
    if not found:
        if is_recording(file.root):
            raise WrongFile(
                f"{name} holds recorded activations, not a model",
                hint="give it as `reference=`, beside the model it was recorded from",
            )
        raise WrongFile(f"{name} holds no Torch module", received=describe(file.root))
    if len(found) > 1:
        raise UsageError(
            f"{name} holds {len(found)} modules",
            received="\n" + listed,
            hint="choose one with `select=PATH`",
        )
    ((key, root),) = found.items()
    return ModelFile(file, root, key, wrapper, registry)


def find_modules(root: Any, registry: Registry) -> Iterator[tuple[str, TorchObject]]:
    """Modules in nested tables, with their keys joined by dots; nothing inside a module.

    A table that stands at several places is looked at once: a few could stand for millions.
    """
    seen: set[int] = set()
    pending: list[tuple[str, Any, int]] = [("", root, 0)]
    while pending:
        path, value, depth = pending.pop()
        if isinstance(value, TorchObject) and is_module(value, registry):
            yield path, value
        if not isinstance(value, Table) or value.index in seen or is_recording(value):
            continue
        seen.add(value.index)
        if depth < MAX_TABLES:
            inner = [(key, value[key]) for key in value.keys() if isinstance(key, str | int)]
            named = [(f"{path}.{key}" if path else str(key), item) for key, item in inner]
            pending.extend((name, item, depth + 1) for name, item in reversed(named))


def default_output(path: str | os.PathLike[str]) -> Path:
    """Where a model goes if the user names no folder: `model.t7` becomes `model_tensorflow`."""
    source = Path(path)
    return source.with_name(f"{source.stem}_tensorflow")
