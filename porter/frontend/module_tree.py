"""The module tree of a file: every module with its path, and which classes are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from porter.errors import UnmappedModules
from porter.ir.registry import Registry
from porter.torch7 import LuaFunction, Table, TorchObject, describe

MODULE_FIELDS = ("modules", "_type", "gradInput", "output", "train")
"""Fields that nn.Module gives every module; old files lack some of them."""


def is_module(thing: TorchObject, registry: Registry | None = None) -> bool:
    """Whether an object is a module to be called, and not a criterion or something else."""
    if thing.typename.endswith("Criterion"):
        return False
    return (registry is not None and thing.typename in registry) or any(
        name in thing for name in MODULE_FIELDS
    )


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


def parts(module: TorchObject) -> Iterator[tuple[int | str, TorchObject]]:
    """The modules directly below a module, with their numbers.

    A wrapper that is no container has its net in the field `net`, by which it is named.
    """
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
    elif isinstance(module.get("net"), TorchObject):
        yield "net", module.object("net")


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
            "`layer_maps=`, or treat harmless ones as identity with `identity=CLASS`",
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
