"""The module tree of a file: every module with its path, and which classes are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from porter.errors import UnmappedModules, UsageError
from porter.ir.registry import Registry
from porter.torch7 import LuaFunction, Table, Tensor, TorchObject, describe

MODULE_FIELDS = ("modules", "_type", "gradInput", "output", "train")
"""Fields that nn.Module gives every module; old files lack some of them."""

PARAMETERS = ("weight", "bias", "running_mean", "running_var", "running_std")
"""Tensors that are parameters also where their gradients were removed."""


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
    visited: set[int] = set()
    pending: list[tuple[str, TorchObject]] = [("", root)]
    while pending:
        path, module = pending.pop()
        if module.index in visited:
            continue
        visited.add(module.index)
        yield path, module
        children = [(f"{path}.{n}" if path else str(n), child) for n, child in parts(module)]
        pending.extend(reversed(children))


def parts(module: TorchObject) -> Iterator[tuple[int | str, TorchObject]]:
    """The modules directly below a module, with their numbers.

    A wrapper that is no container has its net in the field `net`, by which it is named. An object
    without any field of nn.Module has nets in its own fields, or in lists there: `trunk`, `refs.1`.
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
    elif not any(name in module for name in MODULE_FIELDS):
        for name, value in module.fields.items():
            listed = isinstance(value, Table)
            for entry, item in value.items.items() if listed else [("", value)]:
                if isinstance(item, TorchObject) and is_module(item):
                    yield f"{name}.{entry}" if listed else str(name), item


def histogram(root: TorchObject) -> Counter[str]:
    """How many modules of each Torch class the tree holds; shared modules count once."""
    return Counter(module.typename for _, module in submodules(root))


def require_mapped(root: TorchObject, registry: Registry) -> None:
    """Raise one UnmappedModules that lists every class without a map, with paths and fields.

    Raises UsageError for a class that should be the identity though it has something to compute.
    """
    unknown: dict[str, list[tuple[str, TorchObject]]] = {}
    for path, module in submodules(root):
        if module.typename in registry.identities:
            require_nothing_inside(path, module)
        if module.typename not in registry:
            unknown.setdefault(module.typename, []).append((path, module))
    if not unknown:
        return
    ordered = sorted(unknown.items())
    modules = [places[0][1] for _, places in ordered]
    ways = [
        f"write a map with `porter scaffold {modules[0].typename} --from MODEL -o maps.py` and "
        "pass it with `layer_maps=maps.py`"
    ]
    extended = [as_extended(module) for module in modules if contents_of(module)]
    if extended:
        way = (
            f"where a class only extends one of Torch's, treat it as that one: {' '.join(extended)}"
        )
        ways.insert(0, way)
    empty = [module.typename for module in modules if not contents_of(module)]
    if empty:
        ways.append(f"where a class passes its input on: `identity={empty[0]}`")
    raise UnmappedModules(
        "a class of this model has no layer map"
        if len(unknown) == 1
        else f"{len(unknown)} classes of this model have no layer map",
        received="\n" + "\n".join(describe_unknown(name, places) for name, places in ordered),
        hint="; or ".join(ways),
    )


def containers_like(module: TorchObject) -> tuple[str, ...]:
    """Torch's containers that an unknown class may extend, likeliest first; none without modules.

    By its fields: nn.ConcatTable and nn.ParallelTable have none of their own, but they start with
    tables as `output`, and the latter as `gradInput` (ConcatTable.lua, ParallelTable.lua). An
    nn.Sequential has the output of its last module.
    """
    if "forwardnodes" in module:
        return ("nn.gModule",)
    children = [child for number, child in parts(module) if isinstance(number, int)]
    if not children:
        return ()
    if "inputDimension" in module and "outputDimension" in module:
        return ("nn.Parallel",)
    if "dimension" in module:
        return ("nn.Concat",)
    output, last = module.get("output"), children[-1].get("output")
    if isinstance(output, Table) and not isinstance(last, Table):
        takes_table = isinstance(module.get("gradInput"), Table)
        return ("nn.ParallelTable",) if takes_table else ("nn.ConcatTable",)
    if isinstance(output, Tensor):
        return ("nn.Sequential",)
    return ("nn.Sequential", "nn.ConcatTable", "nn.ParallelTable")


def as_extended(module: TorchObject) -> str:
    """The argument that treats a class as the one that it may extend."""
    likeliest, *others = containers_like(module) or ("KNOWN.CLASS",)
    argument = f"`map={module.typename}={likeliest}`"
    return f"{argument} (or {', '.join(others)}: whichever it extends)" if others else argument


def require_nothing_inside(path: str, module: TorchObject) -> None:
    """Raise UsageError for a module that computes something, where it should be the identity."""
    inside = contents_of(module)
    if not inside:
        return
    raise UsageError(
        f"{module.typename} is no identity: it holds {inside}",
        where=f"{path or 'the root'} ({module.typename})",
        hint="if its methods are those of a class that porter knows, treat it as that one: "
        f"{as_extended(module)}; else write a rule with "
        f"`porter scaffold {module.typename} --from MODEL -o maps.py`",
    )


def contents_of(module: TorchObject) -> str:
    """The modules or parameters of a module, for messages; nothing where it has neither."""
    numbered = [child for number, child in parts(module) if isinstance(number, int)]
    if numbered:
        return f"{len(numbered)} module(s)"
    parameters = parameters_of(module)
    if parameters:
        return "the parameter(s) " + ", ".join(parameters)
    for name, value in module.fields.items():
        if isinstance(value, TorchObject) and is_module(value):
            learned = any(parameters_of(inner) for _, inner in submodules(value))
            if learned:
                return f"the module {name}"
    return ""


def parameters_of(module: TorchObject) -> list[str]:
    """The tensors that a module learned: those with a gradient, and statistics that it kept."""
    return [
        str(name)
        for name, value in module.fields.items()
        if isinstance(name, str)
        and isinstance(value, Tensor)
        and value.numel
        and (name in PARAMETERS or f"grad{name[:1].upper()}{name[1:]}" in module)
    ]


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


def replaced_methods(root: TorchObject) -> list[tuple[str, TorchObject]]:
    """Modules whose `updateOutput` is a function of the instance, and no longer of the class.

    Torch calls that one. nn.Copy keeps its own there.
    """
    return [
        (path, module)
        for path, module in submodules(root)
        if isinstance(module.get("updateOutput"), LuaFunction) and module.typename != "nn.Copy"
    ]


def functions_in(root: TorchObject) -> list[tuple[str, LuaFunction]]:
    """Lua functions that modules carry as fields; porter reports and never runs them."""
    return [
        (f"{path}.{name}" if path else str(name), value)
        for path, module in submodules(root)
        for name, value in module.fields.items()
        if isinstance(value, LuaFunction)
    ]
