"""Open the network in a `.t7` file: a module, or one that tables and objects hold."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from porter import torch7
from porter.errors import SeveralModules, UsageError, WrongFile, printable
from porter.frontend.module_tree import require_mapped
from porter.frontend.nonfinite import with_nan
from porter.frontend.run_mode import decide
from porter.frontend.selection import container_of, entries_of, find_modules, module_at, outermost
from porter.frontend.walker import Model
from porter.ir.options import Options
from porter.ir.registry import Registry
from porter.torch7 import T7File, Table, TorchObject, describe
from porter.torch7.recorder import is_recording

MAX_KEYS = 12
"""Keys that a message lists of a table without a module."""
AS_REFERENCE = "give it as `reference=`, beside the model it was recorded from"
INSIDE = (
    "a module inside one by its number, `PATH.2`, part of an nn.Sequential by a range, `PATH.1-31`"
)


@dataclass(frozen=True)
class ModelFile:
    """A file and the module in it that was chosen.

    `selected` is its path, `wrapper` describes what stands beside it in the root.
    """

    file: T7File
    root: TorchObject
    selected: str
    wrapper: dict[str, str]
    registry: Registry = field(repr=False)
    warning: str = ""
    """What to know of how the module was found."""
    chosen: bool = False
    """Whether the user named the module among several."""

    def model(self, options: Options | None = None) -> Model:
        """The module tree, ready to be walked. Raises UnmappedModules naming all such classes."""
        require_mapped(self.root, self.registry)
        mode = decide(self.root, options or Options())
        return Model(self.root, self.registry, with_nan(self.root, self.registry, mode.options))


def open_model(
    path: str | os.PathLike[str], registry: Registry, select: str | None = None
) -> ModelFile:
    """Read a file and find its module. Raises T7Error, or UsageError where there are several."""
    file = torch7.read(path)
    return choose(file, os.fspath(path), registry, select)


def holds_model(file: T7File, registry: Registry) -> bool:
    """Whether there is a module in a file."""
    return any(True for _ in find_modules(file.root, registry))


def choose(file: T7File, name: str, registry: Registry, select: str | None = None) -> ModelFile:
    """The module of a file that was read: the selected one, or the only one."""
    found = dict(find_modules(file.root, registry))
    if select is not None:
        selected = module_at(file.root, select, registry)
        if selected is None:
            raise UsageError(
                f"{name} holds no module at '{select}'",
                hint=f"modules in this file:\n{listed(found)}\n{INSIDE}" if found else None,
            )
        return ModelFile(file, selected, select, contents(file.root, found), registry, chosen=True)
    if not found:
        raise without_module(file, name)
    candidates = outermost(found)
    if len(candidates) != 1:
        several = SeveralModules(
            f"{name} holds {len(found)} modules",
            received="\n" + listed(found),
            hint=f"choose one with `select=PATH`; {INSIDE}",
        )
        several.example = next(iter(candidates or found))
        several.modules = {path: module.typename for path, module in found.items()}
        raise several
    ((path, root),) = candidates.items()
    around = container_of(file.root, path, registry)
    warning = (
        f"{path} was taken out of an object of class {printable(around.typename)}, which porter "
        "does not know: what that class does itself is not converted"
        if around is not None
        else ""
    )
    return ModelFile(file, root, path, contents(file.root, found), registry, warning)


def listed(found: dict[str, TorchObject]) -> str:
    """Modules with their paths, a line each."""
    return "\n".join(f"  {path or '(the root)'}: {found[path].typename}" for path in found)


def contents(root: Any, found: dict[str, TorchObject]) -> dict[str, str]:
    """What a table or an object around the module holds; nothing where the module is the root."""
    if "" in found or not isinstance(root, Table | TorchObject):
        return {}
    return {str(key): describe(value) for key, value in entries_of(root)}


def without_module(file: T7File, name: str) -> WrongFile:
    """The error of a file in which there is no module: what there is instead."""
    if is_recording(file.root):
        return WrongFile(f"{name} holds recorded activations, not a model", hint=AS_REFERENCE)
    received = describe(file.root)
    entries = entries_of(file.root) if isinstance(file.root, Table | TorchObject) else []
    if entries:
        shown = "; ".join(
            f"{printable(str(key), 40)}: {describe(value)}" for key, value in entries[:MAX_KEYS]
        )
        more = f"; and {len(entries) - MAX_KEYS} more" if len(entries) > MAX_KEYS else ""
        received += f": {shown}{more}"
    return WrongFile(
        f"{name} holds no Torch module",
        received=received,
        hint="`porter inspect` lists all that it holds, `porter weights` writes its tensors",
    )


def default_output(path: str | os.PathLike[str], select: str | None = None) -> Path:
    """Where a model goes if the user names no folder: `model.t7` becomes `model_tensorflow`.

    One of several that a file holds has its path in the name: `model_netG_tensorflow`.
    """
    source = Path(path)
    chosen = "_" + re.sub(r"[^\w.-]+", "_", select) if select else ""
    return source.with_name(f"{source.stem}{chosen}_tensorflow")
