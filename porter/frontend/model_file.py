"""Find the network in a `.t7` file: a module, or a checkpoint table that holds one or several."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter import torch7
from porter.errors import UnmappedModules, UsageError, WrongFile
from porter.frontend.walker import Model
from porter.ir.options import Options
from porter.ir.registry import Registry, default_registry
from porter.parity.recording import is_recording
from porter.torch7 import LuaFunction, T7File, Table, TorchObject, describe

MODULE_FIELDS = ("modules", "_type", "gradInput", "output", "train")
"""Fields that nn.Module gives every module; old files lack some of them."""


MAX_TABLES = 4
"""Tables in tables that are searched for modules."""


@dataclass(frozen=True)
class ModelFile:
    """A file and the module in it that was chosen; `wrapper` names the table's other keys."""

    file: T7File
    root: TorchObject
    selected: str
    wrapper: dict[str, str]

    def model(self, registry: Registry | None = None, options: Options | None = None) -> Model:
        """The module tree, ready to be walked. Raises UnmappedModules naming all such classes."""
        known = registry or default_registry()
        require_mapped(self.root, known)
        return Model(self.root, known, options or Options())


def open_model(path: str | os.PathLike[str], select: str | None = None) -> ModelFile:
    """Read a file and find its module. Raises T7Error, or UsageError where there are several."""
    file = torch7.read(path)
    return choose(file, os.fspath(path), select)


def choose(file: T7File, name: str, select: str | None = None) -> ModelFile:
    """The module of a file that was read."""
    found = dict(find_modules(file.root))
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
        return ModelFile(file, found[select], select, wrapper)
    if not found:
        if is_recording(file.root):
            raise WrongFile(
                f"{name} holds recorded activations, not a model",
                hint="give it as --reference, beside the model it was recorded from",
            )
        raise WrongFile(f"{name} holds no Torch module", received=describe(file.root))
    if len(found) > 1:
        raise UsageError(
            f"{name} holds {len(found)} modules",
            received="\n" + listed,
            hint="choose one with --select PATH",
        )
    ((key, root),) = found.items()
    return ModelFile(file, root, key, wrapper)


def find_modules(root: Any) -> Iterator[tuple[str, TorchObject]]:
    """Modules in nested tables, with their keys joined by dots; nothing inside a module.

    A table that stands at several places is looked at once: a few could stand for millions.
    """
    seen: set[int] = set()
    pending: list[tuple[str, Any, int]] = [("", root, 0)]
    while pending:
        path, value, depth = pending.pop()
        if isinstance(value, TorchObject) and is_module(value):
            yield path, value
        if not isinstance(value, Table) or value.index in seen or is_recording(value):
            continue
        seen.add(value.index)
        if depth < MAX_TABLES:
            inner = [(key, value[key]) for key in value.keys() if isinstance(key, str | int)]
            named = [(f"{path}.{key}" if path else str(key), item) for key, item in inner]
            pending.extend((name, item, depth + 1) for name, item in reversed(named))


def is_module(thing: TorchObject) -> bool:
    """Whether an object is a module to be called, and not a criterion or something else."""
    if thing.typename.endswith("Criterion"):
        return False
    return thing.typename in default_registry() or any(name in thing for name in MODULE_FIELDS)


def submodules(root: TorchObject) -> Iterator[tuple[str, TorchObject]]:
    """Every module of the tree with its path, parents first; a shared one at its first path.

    Below an nn.gModule the number is the node's position in `forwardnodes`.
    """
    seen: set[int] = set()
    pending: list[tuple[str, TorchObject]] = [("", root)]
    while pending:
        path, module = pending.pop()
        if module.index in seen:
            continue
        seen.add(module.index)
        yield path, module
        children = [(f"{path}.{n}" if path else str(n), child) for n, child in parts(module)]
        pending.extend(reversed(children))


def parts(module: TorchObject) -> Iterator[tuple[int, TorchObject]]:
    """The modules directly below a module, with their numbers."""
    nodes = module.get("forwardnodes")
    if isinstance(nodes, Table):
        for key in sorted(k for k in nodes.keys() if isinstance(k, int)):
            data = nodes[key].get("data") if isinstance(nodes[key], TorchObject) else None
            inner = data.get("module") if isinstance(data, Table) else None
            if isinstance(inner, TorchObject):
                yield key, inner
        return
    children = module.get("modules")
    if isinstance(children, Table):
        for key in sorted(k for k in children.keys() if isinstance(k, int)):
            if isinstance(children[key], TorchObject):
                yield key, children[key]


def histogram(root: TorchObject) -> Counter[str]:
    """How many modules of each Torch class the tree holds; shared modules count once."""
    return Counter(module.typename for _, module in submodules(root))


def require_mapped(root: TorchObject, registry: Registry) -> None:
    """Raise one UnmappedModules that lists every class without a map, with paths and fields."""
    unknown: dict[str, list[tuple[str, TorchObject]]] = {}
    for path, module in submodules(root):
        if module.typename not in registry and "forwardnodes" not in module:
            unknown.setdefault(module.typename, []).append((path, module))
    if unknown:
        raise UnmappedModules(
            f"{len(unknown)} class(es) of this model have no layer map",
            received="\n" + "\n".join(describe_unknown(n, p) for n, p in sorted(unknown.items())),
            hint="write a map with `porter scaffold CLASS --from MODEL` and pass it with "
            "--layer-maps, or treat harmless ones as identity with --identity CLASS",
        )


def describe_unknown(typename: str, places: list[tuple[str, TorchObject]]) -> str:
    """One unknown class: how often, where, with which fields."""
    paths = ", ".join(path or "the root" for path, _ in places[:6])
    more = f" and {len(places) - 6} more" if len(places) > 6 else ""
    fields = {
        str(name): describe(value)
        for name, value in places[0][1].fields.items()
        if name not in (*MODULE_FIELDS, "gradWeight", "gradBias")
    }
    shown = "; ".join(f"{name}: {what}" for name, what in sorted(fields.items())[:12]) or "none"
    return f"  {typename} ×{len(places)} at {paths}{more}\n    fields: {shown}"


def functions_in(root: TorchObject) -> list[tuple[str, LuaFunction]]:
    """Lua functions that modules carry as fields; porter reports and never runs them."""
    return [
        (f"{path}.{name}" if path else str(name), value)
        for path, module in submodules(root)
        for name, value in module.fields.items()
        if isinstance(value, LuaFunction)
    ]


def default_output(path: str | os.PathLike[str]) -> Path:
    """Where a model goes if the user names no folder: `model.t7` becomes `model_tensorflow`."""
    source = Path(path)
    return source.with_name(f"{source.stem}_tensorflow")
