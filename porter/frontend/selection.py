"""Which module of a file: those that stand in tables and objects, and any that a path reaches.

A path joins keys by dots: `model`, `agent.network`, `protos.rnn`. It goes on inside a module, by
the numbers that reports use (`model.31`) or by the name of a field (`model.trunk`), and ends with a
range where part of an nn.Sequential is meant (`model.1-31`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from porter.errors import UsageError
from porter.frontend.module_tree import is_module, parts, submodules
from porter.ir.registry import Registry
from porter.torch7 import Table, TorchObject
from porter.torch7.recorder import is_recording

MAX_DEPTH = 8
"""Tables and objects in each other that are searched for modules."""
SEQUENTIAL = "nn.Sequential"
RANGE = re.compile(r"(\d+)-(\d+)")


def find_modules(root: Any, registry: Registry) -> Iterator[tuple[str, TorchObject]]:
    """Modules in nested tables and objects, with their keys joined by dots; none inside a module.

    Objects of unknown classes are searched too: an agent, an experiment, a model that keeps its
    nets in fields. One that holds no module may be a module itself. Whatever is referenced several
    times is searched once: a few tables could stand for millions.
    """
    visited: set[int] = set()
    pending: list[tuple[str, Any, int]] = [("", root, 0)]
    while pending:
        path, value, depth = pending.pop()
        if not isinstance(value, Table | TorchObject) or value.index in visited:
            continue
        if isinstance(value, TorchObject):
            if value.typename.endswith("Criterion"):
                continue
            if is_module(value, registry) and not is_wrapper(value, registry):
                visited.add(value.index)
                yield path, value
                continue
        elif is_recording(value):
            continue
        visited.add(value.index)
        if depth < MAX_DEPTH:
            entries = [(join(path, str(key)), item) for key, item in entries_of(value)]
            pending.extend((name, item, depth + 1) for name, item in reversed(entries))


def find_object(root: Any, typename: str) -> TorchObject | None:
    """The first object of a class in a file, wherever it stands; None where there is none."""
    visited: set[int] = set()
    pending = [root]
    while pending:
        value = pending.pop()
        if not isinstance(value, Table | TorchObject) or value.index in visited:
            continue
        if isinstance(value, TorchObject) and value.typename == typename:
            return value
        visited.add(value.index)
        pending.extend(item for _, item in reversed(entries_of(value)))
    return None


def is_wrapper(thing: TorchObject, registry: Registry) -> bool:
    """Whether an object of an unknown class keeps modules in its fields, and no list of them."""
    numbered = any(isinstance(number, int) for number, _ in parts(thing))
    if thing.typename in registry or numbered:
        return False
    visited = {thing.index}
    pending: list[tuple[Any, int]] = [(item, 1) for _, item in entries_of(thing)]
    while pending:
        value, depth = pending.pop()
        if not isinstance(value, Table | TorchObject) or value.index in visited:
            continue
        visited.add(value.index)
        if isinstance(value, TorchObject):
            if value.typename.endswith("Criterion"):
                continue
            if is_module(value, registry):
                return True
        if depth < MAX_DEPTH:
            pending.extend((item, depth + 1) for _, item in entries_of(value))
    return False


def entries_of(value: Table | TorchObject) -> list[tuple[str | int, Any]]:
    """Keys and values of a table, fields of an object."""
    items = value.items if isinstance(value, Table) else value.fields
    return [(key, item) for key, item in items.items() if isinstance(key, str | int)]


def join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def outermost(found: dict[str, TorchObject]) -> dict[str, TorchObject]:
    """Those of several modules that are no part of another: a model beside its own parts."""
    inner = {module.index for root in found.values() for path, module in submodules(root) if path}
    return {path: module for path, module in found.items() if module.index not in inner}


def module_at(root: Any, path: str, registry: Registry) -> TorchObject | None:
    """The module that a path reaches, or None. Raises UsageError for a range of something else."""
    trail = trail_to(root, path.split(".") if path else [], registry)
    return trail[-1] if trail else None


def trail_to(value: Any, steps: list[str], registry: Registry) -> list[Any]:
    """All that the steps of a path lead through, the module at its end last; or nothing."""
    if not steps:
        return [value] if isinstance(value, TorchObject) and is_module(value, registry) else []
    if not isinstance(value, Table | TorchObject):
        return []
    if isinstance(value, TorchObject) and len(steps) == 1 and RANGE.fullmatch(steps[0]):
        return [value, section(value, steps[0], registry)]
    named = {str(key): item for key, item in entries_of(value)}
    if isinstance(value, TorchObject):
        named |= {str(number): module for number, module in parts(value)}
    # A key may have dots itself.
    for count in range(1, len(steps) + 1):
        key = ".".join(steps[:count])
        trail = trail_to(named[key], steps[count:], registry) if key in named else []
        if trail:
            return [value, *trail]
    return []


def section(module: TorchObject, text: str, registry: Registry) -> TorchObject:
    """Part of an nn.Sequential, as one: `1-31` are its first 31 modules, shared with it."""
    first, last = (int(number) for number in text.split("-"))
    sequential = SEQUENTIAL in registry and module.typename in registry
    if not sequential or registry[module.typename] is not registry[SEQUENTIAL]:
        raise UsageError(
            f"'{text}' is a range, which only an {SEQUENTIAL} has",
            received=f"a {module.typename}",
        )
    children = [child for _, child in parts(module)]
    if not 1 <= first <= last <= len(children):
        raise UsageError(
            f"'{text}' is no range of this {module.typename}",
            received=f"modules 1 to {len(children)}",
        )
    chosen = dict(enumerate(children[first - 1 : last], start=1))
    table = Table(module.table("modules").index, chosen)
    kept = {key: module.fields[key] for key in ("train", "_type") if key in module.fields}
    return replace(module, fields={**kept, "modules": table})


def container_of(root: Any, path: str, registry: Registry) -> TorchObject | None:
    """The object with the fields of a module, but of an unknown class, that a module was found in.

    What such an object computes of the module's output is known to its Lua code alone.
    """
    passed = trail_to(root, path.split(".") if path else [], registry)[:-1]
    modules = (each for each in passed if isinstance(each, TorchObject) and is_module(each))
    return next((each for each in modules if is_wrapper(each, registry)), None)
