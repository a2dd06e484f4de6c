"""Find which sizes of a model's input are free, and walk it once for all of them.

A model without a fixed-size layer works on any batch, height and width. Which of them are free is
not declared anywhere: each is changed in turn, and it is free if the walk finds the same layers on
the same values, in other shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from porter.errors import WalkError
from porter.frontend.batch_rows import cuts_samples
from porter.frontend.walker import Model
from porter.ir.graph import Graph, TensorType
from porter.ir.layout import NotDynamic
from porter.ir.merge import merge
from porter.ir.nested import Nested, leaves, map_leaves

STEPS = (1, 2, 3, 4, 8, 16, 32, 64, 128, 256)
"""By how much a size is changed: nets with strides accept only some sizes."""

Traced = TypeVar("Traced")

Place = tuple[int, int]
"""Which input leaf, which axis."""


def generalise(model: Model, types: Nested[TensorType], keep: int = 0) -> Graph:
    """The graph for inputs like `types`, with every size that turns out free left open.

    `keep` gives up freedom where a caller found that it cannot be emitted: 0 leaves all free sizes
    open, 1 the batch only, 2 none.
    """
    exact = model.walk(types)
    if keep >= 2:
        return exact
    grown: dict[Place, int] = {}
    merged = exact
    flat = list(leaves(types))
    for places in candidates(types, batch_only=keep == 1):
        if all(place in grown for place in places):
            continue
        sizes = {(leaf, axis): flat[leaf].static[axis] for leaf, axis in places}
        # A net with a fixed-size layer may bear one more row, where pooling rounds it away, but not
        # twice as many, or only as twice as many samples.
        doubled = walk_grown(model, merged, types, grown | sizes)
        if doubled is None or folds(model, exact, types, grown, sizes):
            continue
        for step in STEPS:
            trial = grown | dict.fromkeys(places, step)
            found = walk_grown(model, doubled, types, trial)
            if found is not None:
                grown, merged = trial, found
                break
    return merged


def widest(model: Model, types: Nested[TensorType], make: Callable[[Graph], Traced]) -> Traced:
    """What `make` makes of the graph with as many free sizes as it can do with.

    `make` raises NotDynamic where a layer needs a size that the graph leaves open.
    """
    for keep in (0, 1):
        try:
            return make(generalise(model, types, keep))
        except NotDynamic:
            continue
    return make(generalise(model, types, keep=2))


def folds(
    model: Model,
    exact: Graph,
    types: Nested[TensorType],
    grown: dict[Place, int],
    sizes: dict[Place, int],
) -> bool:
    """Whether a larger image becomes more samples: nn.View makes two of twice as many rows.

    Then the first axis of an output depends on the batch and on the image's size. That is right
    where every pixel or row of an image makes a row of its own, so that no size cuts a sample.
    """
    if any(axis == 0 for _, axis in sizes):
        return False
    same_batch = {place: more for place, more in grown.items() if place[1] != 0}
    larger = walk_grown(model, exact, types, same_batch | sizes)
    if larger is None:
        # With more samples it went well: the rows were shared out among those.
        return True
    batches = {(leaf, 0): type.static[0] for leaf, type in enumerate(leaves(types)) if type.rank}
    fuller = walk_grown(model, exact, types, batches)
    if fuller is None:
        return False
    return any(
        one.type.rank > 0 and one.type.shape[0] is None and other.type.shape[0] is None
        for one, other in zip(leaves(larger.outputs), leaves(fuller.outputs), strict=True)
    ) and not all(keeps_samples(model, types, sizes, factor) for factor in (2, 3))


def keeps_samples(
    model: Model, types: Nested[TensorType], sizes: dict[Place, int], factor: int
) -> bool:
    """Whether no sample is cut with some sizes so many times as large."""
    try:
        larger = model.walk(resized(types, {p: (factor - 1) * n for p, n in sizes.items()}))
    except WalkError:
        return False
    return not cuts_samples(larger)


def candidates(types: Nested[TensorType], batch_only: bool) -> Iterator[tuple[Place, ...]]:
    """Groups of sizes that are changed together: first all batches, then the others.

    Several inputs may have to agree in a size (two images to be added), so equal sizes at equal
    axes are tried together before each alone. A vector may be a batch of numbers, too.
    """
    flat = list(enumerate(leaves(types)))
    batched = [(i, t) for i, t in flat if t.rank >= 2]
    vectors = [(i, t) for i, t in flat if t.rank == 1]
    extents = {t.static[0] for _, t in batched or vectors}
    together = len(extents) == 1
    if together:
        counts = [(i, 0) for i, t in flat if t.rank >= 1 and t.static[0] in extents]
        if len(counts) > len(batched) > 0:
            yield tuple(counts)
        yield tuple((i, 0) for i, _ in batched or vectors)
    if batch_only:
        return
    for i, t in [*batched, *vectors]:
        for axis in range(1 if together and t.rank > 1 else 0, t.rank):
            alike = tuple(
                (j, axis)
                for j, other in flat
                if other.rank == t.rank and other.static[axis] == t.static[axis]
            )
            if len(alike) > 1 and alike[0][0] == i:
                yield alike
            yield ((i, axis),)


def resized(types: Nested[TensorType], grown: dict[Place, int]) -> Nested[TensorType]:
    """The types with some sizes larger by so much."""
    numbered = iter(range(sum(1 for _ in leaves(types))))

    def grow(type: TensorType) -> TensorType:
        leaf = next(numbered)
        shape = tuple(size + grown.get((leaf, axis), 0) for axis, size in enumerate(type.static))
        return replace(type, shape=shape)

    return map_leaves(grow, types)


def walk_grown(
    model: Model, base: Graph, types: Nested[TensorType], grown: dict[Place, int]
) -> Graph | None:
    """`base` merged with the walk of changed sizes, or None if the model does not bear them."""
    try:
        other = model.walk(resized(types, grown))
    except WalkError:
        return None
    return merge(base, other)
