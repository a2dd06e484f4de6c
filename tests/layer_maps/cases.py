"""Modules with an input that they accept: recorded by Torch, or built where nothing is recorded.

A `Variation` makes another input of the same kind out of a case's: more samples, larger images,
other numbers.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from porter.apps.check.checker import Checker, find
from porter.errors import PorterError
from porter.frontend.inputs import types_of
from porter.frontend.walker import Model
from porter.ir.graph import TensorType
from porter.ir.nested import Nested, leaves, map_leaves
from tests.build import FIXTURES, Array, model
from tests.layer_maps.built import BUILT, LOOPED

CASES = FIXTURES / "layers"
RECORDED = sorted(folder.name for folder in CASES.iterdir() if folder.is_dir())


@dataclass(frozen=True, eq=False, repr=False)
class Case:
    """A module, ready to be walked, and an input in Torch's order."""

    name: str
    model: Model
    inputs: Nested[Array]

    def __str__(self) -> str:
        return self.name


@functools.cache
def cases(typename: str) -> tuple[Case, ...]:
    """All cases of a class: the recorded ones, or the one that is built."""
    if typename in BUILT:
        module, inputs = BUILT[typename]()
        return (Case(f"{typename}/built", model(module), inputs),)
    checker, found = Checker(), []
    for fixture in find([CASES / typename]):
        (module,), recorded = checker.load(fixture)
        assert recorded.input is not None
        found.append(Case(f"{typename}/{fixture.path.stem}", model(module), recorded.input))
    if typename in LOOPED:
        module, inputs = LOOPED[typename]()
        found.append(Case(f"{typename}/alone", model(module), inputs))
    return tuple(found)


class Variation(NamedTuple):
    """How an input differs from a case's: by how much each group of axes grows, and a seed."""

    growth: tuple[int, ...]
    seed: int


VARIATIONS = st.builds(
    Variation,
    growth=st.tuples(*[st.integers(0, 3)] * 5),
    seed=st.integers(0, 999),
)

Place = tuple[int, int]
"""Which input, which axis."""


def groups(types: Nested[TensorType]) -> Iterator[tuple[Place, ...]]:
    """Axes that may have to grow together: the same axis of all inputs, then of each alone."""
    flat = list(leaves(types))
    for axis in range(max((type.rank for type in flat), default=0)):
        alike = tuple((i, axis) for i, type in enumerate(flat) if type.rank > axis)
        yield alike
        if len(alike) > 1:
            yield from ((place,) for place in alike)


def grown(types: Nested[TensorType], growth: dict[Place, int]) -> Nested[TensorType]:
    """Larger types."""
    numbers = itertools.count()

    def grow(type: TensorType) -> TensorType:
        leaf = next(numbers)
        sizes = enumerate(type.static)
        return replace(type, shape=tuple(n + growth.get((leaf, axis), 0) for axis, n in sizes))

    return map_leaves(grow, types)


def accepts(case: Case, types: Nested[TensorType]) -> bool:
    """Whether the module takes such an input; anything but an error of porter's is a bug."""
    try:
        case.model.walk(types)
    except PorterError:
        return False
    return True


@functools.cache
def free(case: Case) -> tuple[tuple[Place, ...], ...]:
    """The groups of axes that may grow, each by itself, by one and by twice what it is."""
    types = types_of(case.inputs)
    flat = [type.static for type in leaves(types)]
    return tuple(
        group
        for group in groups(types)
        if accepts(case, grown(types, dict.fromkeys(group, 1)))
        and accepts(case, grown(types, {(i, axis): flat[i][axis] for i, axis in group}))
    )


def varied_types(case: Case, growth: tuple[int, ...]) -> Nested[TensorType]:
    """The case's types with its free axes grown, as far as the module takes them together."""
    types = types_of(case.inputs)
    total: dict[Place, int] = {}
    for group, more in zip(free(case), growth, strict=False):
        trial = total | dict.fromkeys(group, more)
        if more and accepts(case, grown(types, trial)):
            total = trial
    return grown(types, total)


def varied(case: Case, variation: Variation, precision: str = "float64") -> Nested[Array]:
    """An input of the same kind as the case's in other sizes, with other numbers."""
    types = iter(leaves(varied_types(case, variation.growth)))
    random = np.random.default_rng(variation.seed)
    return map_leaves(lambda x: similar(x, next(types).static, random, precision), case.inputs)


def similar(x: Array, shape: tuple[int, ...], random: np.random.Generator, precision: str) -> Array:
    """Numbers like those of `x`, in another shape.

    Recorded vectors along the last axis are picked at random, so that indices stay indices and
    pairs stay pairs; then all that is no whole number is drawn anew. What was never negative
    stays so.
    """
    if x.size == 0 or x.ndim == 0:
        return x
    rows = x.reshape(-1, x.shape[-1])
    picked = rows[random.integers(len(rows), size=shape[:-1])]
    repeated = picked[..., np.arange(shape[-1]) % x.shape[-1]]
    if not np.issubdtype(x.dtype, np.floating):
        return repeated
    numbers = x[np.isfinite(x)]
    fresh = random.normal(numbers.mean(), numbers.std(), shape) if numbers.size else repeated
    if not (numbers < 0).any():
        fresh = np.abs(fresh)
    drawn = np.isfinite(repeated) & (repeated != np.round(repeated))
    return np.where(drawn, fresh, repeated).astype(precision)
