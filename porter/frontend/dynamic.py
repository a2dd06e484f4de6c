"""Find which sizes of a model's input are free, and walk it once for all of them.

A model without a fixed-size layer works on any batch, height and width. Which of them are free is
not declared anywhere: each is changed in turn, and it is free if the walk finds the same layers on
the same values, in other shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from porter.errors import WalkError
from porter.frontend.batch_rows import cuts_samples, mixes_any
from porter.frontend.open_tables import NO_TABLES, OpenTables, open_tables, stacked
from porter.frontend.walker import Model, hashable, kept
from porter.ir.graph import Graph, TensorType
from porter.ir.layout import NotDynamic
from porter.ir.merge import merge
from porter.ir.nested import Nested, leaves, map_leaves

STEPS = (1, 2, 3, 4, 8, 16, 32, 64, 128, 256)
"""By how much a size is changed: nets with strides accept only some sizes."""

Traced = TypeVar("Traced")

LONGER = 3
"""By how much an axis is made longer where a table is as long: one or two steps tell too little."""

InputAxis = tuple[int, int]
"""Which input leaf, which axis."""


def generalise(model: Model, types: Nested[TensorType], keep: int = 0) -> Graph:
    """The graph for inputs like `types`, with every size that turns out free left open.

    `keep` gives up freedom where a caller found that it cannot be emitted: 0 leaves all free sizes
    open, 1 the batch only, 2 none.
    """
    if keep >= 2:
        return model.walk(types)
    key = (hashable(types), keep)
    return kept(model.generalised, key, lambda: opened_graph(model, types, keep == 1))


def opened_graph(model: Model, types: Nested[TensorType], batch_only: bool) -> Graph:
    """The graph with every free size open, or the batch alone."""
    found = Freedom(model, types, model.walk(types))
    for places in candidates(types, batch_only):
        if not all(place in found.grown for place in places):
            found = found.opened(places) or found.with_tables_opened(places) or found
    return found.merged


@dataclass(frozen=True)
class Freedom:
    """The free sizes that were found so far, and the graph in which they are open."""

    model: Model
    types: Nested[TensorType]
    merged: Graph
    grown: dict[InputAxis, int] = field(default_factory=dict)
    """By how much each of them was changed."""
    tables: OpenTables = NO_TABLES

    def opened(self, places: tuple[InputAxis, ...]) -> Freedom | None:
        """With some more sizes, which change together; None if they are not free."""
        sizes = self.sizes(places)
        # A net with a fixed-size layer may bear one more row, where pooling rounds it away, but not
        # twice as many, or only as twice as many samples.
        doubled = self.merged_with(self.grown | sizes)
        if doubled is None or self.folds(sizes):
            return None
        for step in STEPS:
            grown = self.grown | dict.fromkeys(places, step)
            found = self.merged_with(grown, doubled)
            if found is not None:
                return replace(self, grown=grown, merged=found)
        return None

    def with_tables_opened(self, places: tuple[InputAxis, ...]) -> Freedom | None:
        """The same, if tables are kept in tensors that are as long as these axes."""
        types = resized(self.types, dict.fromkeys(places, LONGER))
        longer = replace(self, types=types)
        one, other = longer.walk({}), longer.walk(longer.sizes(places))
        if one is None or other is None:
            return None
        tables = self.tables | open_tables(one, other)
        if tables == self.tables:
            return None
        longer = replace(longer, tables=tables)
        exact = longer.walk({})
        merged = exact and longer.merged_with(self.grown, exact)
        return replace(longer, merged=merged).opened(places) if merged else None

    def sizes(self, places: tuple[InputAxis, ...]) -> dict[InputAxis, int]:
        """The sizes of some axes."""
        flat = list(leaves(self.types))
        return {(leaf, axis): flat[leaf].static[axis] for leaf, axis in places}

    def walk(self, grown: dict[InputAxis, int]) -> Graph | None:
        """The walk of changed sizes, or None if the model does not bear them."""
        try:
            graph = self.model.walk(resized(self.types, grown))
        except WalkError:
            return None
        return stacked(graph, self.tables)

    def merged_with(self, grown: dict[InputAxis, int], base: Graph | None = None) -> Graph | None:
        """`base`, or what was found so far, merged with the walk of changed sizes."""
        other = self.walk(grown)
        return None if other is None else merge(base or self.merged, other)

    def folds(self, sizes: dict[InputAxis, int]) -> bool:
        """Whether a larger image becomes more samples: nn.View makes two of twice as many rows.

        Then the first axis of an output depends on the batch and on the image's size. That is right
        where every pixel or row of an image makes a row of its own, so that no size cuts a sample.
        Nor may it mix axes that were not mixed before.
        """
        if any(axis == 0 for _, axis in sizes):
            return False
        exact = self.walk({})
        same_batch = {place: more for place, more in self.grown.items() if place[1] != 0}
        longer = self.walk(same_batch | sizes)
        larger = exact and longer and merge(exact, longer)
        if not (exact and longer and larger):
            # With more samples it went well: the rows were shared out among those.
            return True
        if mixes_any(longer) and not mixes_any(exact):
            return True
        flat = enumerate(leaves(self.types))
        batches = {(leaf, 0): type.static[0] for leaf, type in flat if type.rank}
        fuller = self.merged_with(batches, exact)
        if fuller is None:
            return False
        return any(
            one.type.rank > 0 and one.type.shape[0] is None and other.type.shape[0] is None
            for one, other in zip(leaves(larger.outputs), leaves(fuller.outputs), strict=True)
        ) and not all(self.keeps_samples(sizes, factor) for factor in (2, 3))

    def keeps_samples(self, sizes: dict[InputAxis, int], factor: int) -> bool:
        """Whether no sample is cut with some sizes so many times as large."""
        larger = {place: (factor - 1) * size for place, size in sizes.items()}
        try:
            return not cuts_samples(self.model.walk(resized(self.types, larger)))
        except WalkError:
            return False


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


def candidates(types: Nested[TensorType], batch_only: bool) -> Iterator[tuple[InputAxis, ...]]:
    """Groups of sizes that are changed together: first all batches, then the others.

    Several inputs may have to agree in a size (two images to be added), so equal sizes at equal
    axes are tried together before each alone. A vector may be a batch of numbers, too. Where time
    comes before the batch in some inputs, the batch is the second axis of those.
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
    yield from batches_behind_time(flat)


def batches_behind_time(flat: list[tuple[int, TensorType]]) -> Iterator[tuple[InputAxis, ...]]:
    """Groups where some inputs are T×N×… and others N×…, then the steps of time of the former."""
    for i, sequence in flat:
        if len(flat) < 2 or sequence.rank < 2:
            continue
        batch = sequence.static[1]
        sequences = [j for j, t in flat if t.rank == sequence.rank and t.static[1] == batch]
        for timed in dict.fromkeys((tuple(sequences), (i,))):
            rest = tuple((j, 0) for j, t in flat if j not in timed and t.static[:1] == (batch,))
            if rest and timed[0] == i:
                yield (*((j, 1) for j in timed), *rest)
                yield tuple((j, 0) for j in timed)


def resized(types: Nested[TensorType], grown: dict[InputAxis, int]) -> Nested[TensorType]:
    """The types with some sizes larger by so much."""
    numbered = iter(range(sum(1 for _ in leaves(types))))

    def grow(type: TensorType) -> TensorType:
        leaf = next(numbered)
        shape = tuple(size + grown.get((leaf, axis), 0) for axis, size in enumerate(type.static))
        return replace(type, shape=shape)

    return map_leaves(grow, types)
