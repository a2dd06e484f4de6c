"""Lua tables of tensors while a graph is walked: a leaf, or lists and dicts of leaves.

Torch passes tables between modules. The walker resolves them into plain Python lists (dicts where
the keys are strings), so that the graph itself holds tensors only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias, TypeVar, Union

T = TypeVar("T")
U = TypeVar("U")

Nested: TypeAlias = Union[T, "list[Nested[T]]", "dict[str, Nested[T]]"]


def leaves(nested: Nested[T]) -> Iterator[T]:
    """Every leaf, depth first; dict entries in sorted key order."""
    if isinstance(nested, list):
        for item in nested:
            yield from leaves(item)
    elif isinstance(nested, dict):
        for key in sorted(nested):
            yield from leaves(nested[key])
    else:
        yield nested


def map_leaves(function: Callable[[T], U], nested: Nested[T]) -> Nested[U]:
    """The same structure with `function` applied to every leaf, in the order of `leaves`."""
    if isinstance(nested, list):
        return [map_leaves(function, item) for item in nested]
    if isinstance(nested, dict):
        return {key: map_leaves(function, nested[key]) for key in sorted(nested)}
    return function(nested)


def named_leaves(nested: Nested[T], name: str) -> list[tuple[str, T]]:
    """Leaves named by 1-based positions: `input`, or `input_1`, `input_2_1` …"""
    if isinstance(nested, list):
        return [
            pair
            for position, item in enumerate(nested, start=1)
            for pair in named_leaves(item, f"{name}_{position}")
        ]
    if isinstance(nested, dict):
        return [
            pair for key in sorted(nested) for pair in named_leaves(nested[key], f"{name}_{key}")
        ]
    return [(name, nested)]


def same_structure(first: Nested[T], second: Nested[U]) -> bool:
    """Whether both have leaves, lists and dicts in the same places."""
    if isinstance(first, list):
        return (
            isinstance(second, list)
            and len(first) == len(second)
            and all(same_structure(a, b) for a, b in zip(first, second, strict=True))
        )
    if isinstance(first, dict):
        return (
            isinstance(second, dict)
            and first.keys() == second.keys()
            and all(same_structure(first[key], second[key]) for key in first)
        )
    return not isinstance(second, list | dict)
