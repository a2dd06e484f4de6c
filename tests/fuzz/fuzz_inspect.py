"""Fuzzes `porter inspect`: read, find the model, walk it, search sizes. TensorFlow is not needed.

    python -m tests.fuzz.fuzz_inspect --runs 100000 --seed 1       structure-aware, pure Python
    python -m tests.fuzz.fuzz_inspect --atheris [libFuzzer flags]  coverage-guided, needs atheris

Real models are read, changed as Lua values and written again, so that every file is sound and only
its meaning is not: fields that are missing, absurd or of another type, classes that stand in each
other's place, modules inside themselves, tensors of other shapes.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from porter.apps.inspect import inspect
from porter.frontend.model_file import choose
from porter.frontend.selection import find_modules
from porter.layer_maps import default_registry
from porter.torch7 import Storage, Table, Tensor, TorchObject, read_bytes
from porter.torch7.writer import OWN_BODIES
from tests.fuzz.harness import accepted, main
from tests.write_t7 import to_bytes

FIXTURES = Path(__file__).parents[2] / "fixtures"
CORPUS = Path(__file__).parent / "corpus"
MAX_SEED = 16_500
SHAPES: tuple[tuple[int, ...], ...] = (
    *((3, 16, 16), (2, 3, 12, 14), (1, 1, 9, 9), (4, 8), (2, 5, 7), (6,)),
    *((1, 2, 4, 6, 6), (3, 640, 1), (1,), (2**20, 2**20), (3, 2**30, 4)),
)
NUMBERS = (
    *(-(2.0**53), -1e9, -3.0, -2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 16.0, 1_000.0),
    *(65_537.0, 1e6, 2.0**31 - 1, 1e9, 1e12, 2.0**53, 1e300, float("nan"), float("inf")),
)
LEFT_BEHIND = ("output", "gradInput", "gradWeight", "gradBias", "finput", "fgradInput")

Items = dict[Any, Any]
Place = tuple[Items, Any]
"""A field of a table or module: where it is kept, and its key."""


@dataclass
class Tree:
    """One file's Lua values, and every place in it that may be changed."""

    root: Any
    places: list[Place]
    modules: list[TorchObject]

    @staticmethod
    def of(data: bytes) -> Tree:
        tree = Tree(read_bytes(data).root, [], [])
        pending, visited = [tree.root], set[int]()
        while pending:
            value = pending.pop()
            if id(value) in visited or not isinstance(value, Table | TorchObject):
                continue
            visited.add(id(value))
            items = value.items if isinstance(value, Table) else value.fields
            for key in LEFT_BEHIND:
                items.pop(key, None)
            if isinstance(value, TorchObject):
                tree.modules.append(value)
            tree.places += [(items, key) for key in items]
            pending += items.values()
        return tree


@cache
def seeds() -> list[bytes]:
    """One module with each class's first cases, small nets, and models that are already bad."""
    files = [
        *(path for folder in sorted(FIXTURES.glob("layers/*")) for path in first_cases(folder)),
        *sorted(FIXTURES.glob("nets/*/model.t7")),
        *sorted(FIXTURES.glob("formats/model_*.t7")),
        *sorted(FIXTURES.glob("hostile/*.t7")),
        *sorted(CORPUS.glob("*.t7")),
    ]
    return [data for path in files for data in [path.read_bytes()] if is_seed(data)]


def first_cases(folder: Path) -> list[Path]:
    """Two cases of a layer."""
    return sorted(folder.glob("*.t7"))[:2]


def is_seed(data: bytes) -> bool:
    """Whether a file is small, holds a module, and can be written again."""
    found = len(data) <= MAX_SEED and accepted(lambda: read_bytes(data))
    if not found or not any(True for _ in find_modules(read_bytes(data).root, default_registry())):
        return False
    return accepted(lambda: to_bytes(Tree.of(data).root))


def mutate(rng: random.Random) -> bytes:
    """A model with one to four changes."""
    tree, other = Tree.of(rng.choice(seeds())), Tree.of(rng.choice(seeds()))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4))):
        rng.choice(CHANGES)(tree, other, rng)
    return to_bytes(tree.root)


def change_number(tree: Tree, other: Tree, rng: random.Random) -> None:
    places = [(i, k) for i, k in tree.places if isinstance(i.get(k), float)]
    if places:
        items, key = rng.choice(places)
        old = items[key]
        items[key] = rng.choice((rng.choice(NUMBERS), old + 1, old - 1, -old))


def remove(tree: Tree, other: Tree, rng: random.Random) -> None:
    items, key = rng.choice(tree.places)
    items.pop(key, None)


def replace(tree: Tree, other: Tree, rng: random.Random) -> None:
    """Another type of value: nothing that the class can expect."""
    items, key = rng.choice(tree.places)
    kinds: list[Any] = ["a string", "", True, rng.choice(NUMBERS), Table(-1), tensor(rng)]
    items[key] = rng.choice(kinds)


def splice(tree: Tree, other: Tree, rng: random.Random) -> None:
    """What stands somewhere in another model; indices are kept apart by their sign."""
    items, key = rng.choice(tree.places)
    source, name = rng.choice(other.places)
    if name in source:
        items[key] = renumbered(source[name])


def share(tree: Tree, other: Tree, rng: random.Random) -> None:
    """What stands elsewhere in the same model, perhaps above: shared modules, and cycles."""
    items, key = rng.choice(tree.places)
    items[key] = rng.choice([tree.root, *tree.modules])


def rename(tree: Tree, other: Tree, rng: random.Random) -> None:
    """The fields of one class under the name of another."""
    if tree.modules:
        rng.choice(tree.modules).typename = rng.choice(typenames())


def reshape(tree: Tree, other: Tree, rng: random.Random) -> None:
    """A tensor that sees its storage in another shape."""
    places = [(i, k) for i, k in tree.places if isinstance(i.get(k), Tensor) and i[k].storage]
    if places:
        items, key = rng.choice(places)
        items[key] = reshaped(items[key], rng)


def multiply(tree: Tree, other: Tree, rng: random.Random) -> None:
    """A module wrapped in containers that hold it twice, several levels deep."""
    modules = [(i, k) for i, k in tree.places if isinstance(i.get(k), TorchObject)]
    if modules:
        items, key = rng.choice(modules)
        for level in range(rng.choice((1, 2, 8, 16, 30))):
            children = Table(next_index(), {1: items[key], 2: items[key]})
            name = rng.choice(("nn.Sequential", "nn.ConcatTable", "nn.Concat", "nn.ParallelTable"))
            fields = {"modules": children, "dimension": float(1 + level % 3)}
            items[key] = TorchObject(name, next_index(), 1, 0, fields)


Change = Callable[[Tree, Tree, random.Random], None]
CHANGES: tuple[Change, ...] = (
    *(change_number, change_number, change_number, remove, replace, splice),
    *(share, rename, reshape, multiply),
)

_last_index = [10**6]


def next_index() -> int:
    """An index that no file has."""
    _last_index[0] += 1
    return _last_index[0]


def renumbered(value: Any) -> Any:
    """A copy of another file's value with indices of its own; sharing and cycles are kept."""
    copies: dict[int, Any] = {}

    def copy(value: Any) -> Any:
        if id(value) in copies:
            return copies[id(value)]
        copied: Any = value
        match value:
            case Table():
                copied = copies[id(value)] = Table(next_index(), {}, value.typename)
                copied.items.update({copy(k): copy(v) for k, v in value.items.items()})
            case TorchObject():
                copied = TorchObject(value.typename, next_index(), value.version, 0, {})
                copies[id(value)] = copied
                copied.fields.update({copy(k): copy(v) for k, v in value.fields.items()})
            case Storage():
                copied = Storage(value.typename, value.array, next_index(), 0)
            case Tensor():
                copied = Tensor(
                    value.typename,
                    value.shape,
                    value.stride,
                    value.offset,
                    copy(value.storage),
                    next_index(),
                    value.dtype,
                )
        copies[id(value)] = copied
        return copied

    return copy(value)


def tensor(rng: random.Random) -> Tensor:
    """Random floats of a random shape."""
    shape = tuple(rng.randrange(1, 6) for _ in range(rng.randrange(1, 5)))
    array = np.arange(int(np.prod(shape)), dtype=np.float32)
    storage = Storage("torch.FloatStorage", array, next_index(), 0)
    stride = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    return Tensor("torch.FloatTensor", shape, stride, 0, storage, next_index(), storage.dtype)


def reshaped(old: Tensor, rng: random.Random) -> Tensor:
    """The same storage in a window that lies inside: transposed, cut, expanded, without shape."""
    shape, stride = list(old.shape), list(old.stride)
    kind = rng.randrange(5)
    if kind == 0:
        shape.reverse()
        stride.reverse()
    elif kind == 1 and shape:
        axis = rng.randrange(len(shape))
        shape[axis] = rng.randrange(1, shape[axis] + 1)
    elif kind == 2:
        shape.insert(0, rng.choice((1, 2, 3, 1_000, 2**16)))
        stride.insert(0, 0)
    elif kind == 3 and shape:
        del shape[0], stride[0]
    else:
        shape, stride = [], []
    return Tensor(
        old.typename,
        tuple(shape),
        tuple(stride),
        old.offset if shape else 0,
        old.storage if shape else None,
        next_index(),
        old.dtype,
    )


@cache
def typenames() -> list[str]:
    """Every class that porter knows and writes."""
    return sorted(default_registry().handlers.keys() - set(OWN_BODIES))


def one(data: bytes) -> bool:
    """What `porter inspect FILE` does, with and without --input-shape."""
    return inspected(data, shapes_for(data))


def inspected(data: bytes, shapes: tuple[tuple[int, ...], ...]) -> bool:
    """Inspects a model with inputs of these shapes; whether the file held one."""

    def attempt() -> None:
        opened = choose(read_bytes(data), "model.t7", default_registry())
        inspect(opened, None, shapes).json()

    return accepted(attempt)


def shapes_for(data: bytes) -> tuple[tuple[int, ...], ...]:
    """No shape for one file in three, else one that the file's content chooses."""
    choice = random.Random(data)
    if choice.randrange(3) == 0:
        return ()
    return tuple(choice.choice(SHAPES) for _ in range(choice.choice((1, 1, 1, 2))))


def cases(runs: int, seed: int) -> Iterator[bytes]:
    """The changed models of one run, the same for the same `seed`."""
    rng = random.Random(seed)
    for _ in range(runs):
        yield mutate(rng)


if __name__ == "__main__":
    sys.exit(main(__doc__, one, cases))
