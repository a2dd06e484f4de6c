"""Modules that add, drop or swap dimensions.

Source: torch/nn Squeeze.lua, Unsqueeze.lua, Replicate.lua, Transpose.lua.
"""

from __future__ import annotations

import abc
from dataclasses import replace
from typing import Any

import numpy as np

from porter.maps import (
    Array,
    BadField,
    Field,
    HintsInput,
    KeepsFirstInput,
    LayerMap,
    Layouts,
    OpContext,
    Shape,
    Table,
    TellsInput,
    TensorType,
    TorchObject,
    Types,
    Window,
    complete,
    integer,
    integers_of,
    optional_integer,
    register,
    torch_order,
)


class Renaming(LayerMap):
    """Axes are added, removed or swapped; the elements stay where they are stored."""

    moves = True

    @abc.abstractmethod
    def sources(self, shape: tuple[int | None, ...]) -> list[int | None]:
        """For every output axis the input axis that it was, None for a new one."""

    def layouts(self, available: Layouts, inputs: Types, outputs: Types) -> tuple[Layouts, Layouts]:
        before = available[0] if available[0].flat is None else torch_order(inputs[0].rank)
        sources = self.sources(inputs[0].shape)
        core = [sources.index(axis) for axis in before.order if axis in sources]
        return (before,), (complete(core, len(sources)),)


class RenamingByRank(Renaming, TellsInput):
    """Axes change places by their numbers alone, whatever their sizes."""

    def input_of(self, output: TensorType) -> TensorType | None:
        """The input's type where `sources` looks at ranks only."""
        for rank in (output.rank + 1, output.rank, max(output.rank - 1, 0)):
            try:
                sources = self.sources((None,) * rank)
            except IndexError:  # there are fewer axes than the layer counts
                return None
            if len(sources) == output.rank:
                sizes = dict(zip(sources, output.shape, strict=True))
                return replace(output, shape=tuple(sizes.get(axis) for axis in range(rank)))
        return None


@register("nn.Squeeze")
class Squeeze(Renaming):
    """Without the dimensions of size 1, or without dimension `dim` if it has size 1.

    With one dimension more than `numInputDims` the first is the batch: it is not counted in `dim`,
    and it stays where `dim` is nil. A tensor of one element keeps one dimension.
    """

    dimension = optional_integer("dim")
    sample_rank = optional_integer("numInputDims")
    is_view = True

    def sources(self, shape: tuple[int | None, ...]) -> list[int | None]:
        rank = len(shape)
        batched = self.sample_rank is not None and rank == self.sample_rank + 1
        if self.dimension is not None:
            axis = self.dimension - 1 + batched
            dropped = {axis} if shape[axis] == 1 and rank > 1 else set()
        else:
            dropped = {axis for axis in range(rank) if shape[axis] == 1}
            if len(dropped) == rank:
                dropped.remove(rank - 1)
            if batched:
                dropped.discard(0)
        return [axis for axis in range(rank) if axis not in dropped]

    def output_shape(self, x: Shape) -> Shape:
        if self.dimension is not None:
            batched = len(x) - 1 == self.sample_rank
            fits = 1 <= self.dimension <= len(x) - batched
            self.require(fits, f"drops dimension {self.dimension}", x)
        return tuple(x[axis] for axis in self.sources(x) if axis is not None)

    def reference(self, x: Array) -> Array:
        return np.reshape(x, self.output_shape(x.shape))

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        sources = self.sources(at.inputs[0].shape)
        dropped = [at.axis(axis) for axis in range(at.inputs[0].rank) if axis not in sources]
        return tf.squeeze(x, axis=dropped) if dropped else x


class Insertion(RenamingByRank):
    """One axis more."""

    is_view = True

    @abc.abstractmethod
    def axis(self, rank: int) -> int:
        """The position of the new axis, for inputs of this rank."""

    def sources(self, shape: tuple[int | None, ...]) -> list[int | None]:
        axis, rank = self.axis(len(shape)), len(shape)
        return [*range(axis), None, *range(axis, rank)]

    def expanded(self, tf: Any, x: Any, at: OpContext) -> Any:
        """`x` with a new axis of size 1."""
        return tf.expand_dims(x, at.output_layouts[0].axis(self.axis(at.inputs[0].rank)))


@register("nn.Unsqueeze")
class Unsqueeze(Insertion, KeepsFirstInput):
    """A dimension of size 1 at `pos`, counted in the last `numInputDims` dimensions.

    Without the field these are all, and the module keeps their number for its next calls.
    """

    position = integer("pos")
    sample_rank = optional_integer("numInputDims")

    def axis(self, rank: int) -> int:
        return self.position - 1 + (0 if self.sample_rank is None else rank - self.sample_rank)

    def met(self, first: TensorType) -> LayerMap:
        return self if self.sample_rank is not None else self.evolve(sample_rank=first.rank)

    def output_shape(self, x: Shape) -> Shape:
        axis, before = self.axis(len(x)), self.axis(len(x)) - self.position + 1
        fits = self.position >= 1 and before >= 0 and axis <= len(x)
        self.require(fits, f"adds dimension {self.position}", x)
        return (*x[:axis], 1, *x[axis:])

    def reference(self, x: Array) -> Array:
        return np.expand_dims(x, self.axis(x.ndim))

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return self.expanded(tf, x, at)


@register("nn.Replicate")
class Replicate(Insertion):
    """`nfeatures` copies along a new dimension `dim`, all in the memory of the input (stride 0).

    With more than `ndim` dimensions the first is the batch and not counted. Old files have neither
    `dim` (then 1) nor `ndim`.
    """

    copies = integer("nfeatures")
    dimension = integer("dim", 1)
    sample_rank = optional_integer("ndim")

    def axis(self, rank: int) -> int:
        batched = self.sample_rank is not None and rank > self.sample_rank
        return self.dimension - 1 + batched

    def views(self, x: Window, outputs: tuple[TensorType, ...]) -> tuple[Window, ...]:
        return (x.repeated(self.axis(len(x.shape)), self.copies),)

    def output_shape(self, x: Shape) -> Shape:
        axis = self.axis(len(x))
        self.require(0 <= axis <= len(x), f"adds dimension {self.dimension}", x)
        self.require(self.copies >= 1, "makes one copy or more", self.copies)
        return (*x[:axis], self.copies, *x[axis:])

    def reference(self, x: Array) -> Array:
        return np.repeat(np.expand_dims(x, self.axis(x.ndim)), self.copies, self.axis(x.ndim))

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        multiples = [1] * at.outputs[0].rank
        multiples[at.output_layouts[0].axis(self.axis(at.inputs[0].rank))] = self.copies
        return tf.tile(self.expanded(tf, x, at), multiples)


@register("nn.Transpose")
class Transpose(RenamingByRank, HintsInput):
    """Pairs of dimensions are swapped, one pair after the other; the result is a copy.

    With `numInputDims` they are counted in the last so many dimensions. TensorFlow moves nothing:
    the stored axes are renamed, and a layer that needs Torch's order transposes them.
    """

    swaps: Field[tuple[tuple[int, int], ...]] = Field(lambda module: read_swaps(module))
    sample_rank = optional_integer("numInputDims")

    def input_hint(self) -> TensorType | None:
        """An image, where the fourth dimension is moved; fewer say too little of the rank."""
        last = max((dimension for pair in self.swaps for dimension in pair), default=0)
        return TensorType((None,) * 4) if last == 4 and self.sample_rank is None else None

    def axes(self, rank: int) -> list[tuple[int, int]]:
        """The pairs as 0-based axes."""
        offset = (0 if self.sample_rank is None else rank - self.sample_rank) - 1
        return [(first + offset, second + offset) for first, second in self.swaps]

    def sources(self, shape: tuple[int | None, ...]) -> list[int | None]:
        order: list[int | None] = [*range(len(shape))]
        for first, second in self.axes(len(shape)):
            order[first], order[second] = order[second], order[first]
        return order

    def output_shape(self, x: Shape) -> Shape:
        for pair, axes in zip(self.swaps, self.axes(len(x)), strict=True):
            fits = all(0 <= axis < len(x) for axis in axes)
            self.require(fits, f"swaps dimensions {pair[0]} and {pair[1]}", x)
        return tuple(x[axis] for axis in self.sources(x) if axis is not None)

    def reference(self, x: Array) -> Array:
        for first, second in self.axes(x.ndim):
            x = np.swapaxes(x, first, second)
        return x

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return x


def read_swaps(module: TorchObject) -> tuple[tuple[int, int], ...]:
    """`permutations`, a list of pairs of dimensions."""
    pairs = module.list("permutations")
    rows = [pair.list() if isinstance(pair, Table) else [] for pair in pairs]
    what = f"'permutations' of {module.typename}"
    if not all(len(row) >= 2 for row in rows):
        raise BadField(f"{what} should be pairs of dimensions")
    return tuple((first, second) for first, second, *_ in (integers_of(row, what) for row in rows))
