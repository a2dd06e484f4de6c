"""Images of which height and width must be found apart: those behind which a fixed-size layer sits.

Height and width do not mix in convolutions and poolings. So square images of every size tell which
rows and which columns there are where a layer refuses an image, and the layers from there on tell
which rows and columns they would take.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

from porter.errors import ShapeMismatch, WalkError
from porter.frontend.batch_rows import keeps_borders, mixes_axes
from porter.frontend.memory import TorchTensor
from porter.frontend.stated_sizes import roundness
from porter.frontend.walker import Walk
from porter.ir.graph import TensorType, Value
from porter.ir.layer_map import LayerMap

MAX_EXTENTS = 340
"""How many numbers of rows, and of columns, are put to the layers which are of fixed size."""
MAX_PAIRS = MAX_EXTENTS**2
"""As many pairs: where there are more, later layers are looked at, which are given fewer."""

MAX_OUTPUTS = 20_000
"""Types of which it is remembered at once what the layers make of them: a few megabytes."""


@dataclass(frozen=True)
class Link:
    """A layer of a chain, and the image that it was given."""

    op: LayerMap
    image: TensorType


class Refused(WalkError):
    """The last layer of a chain takes an image of another size.

    `links` are the layers of the chain that take images, `behind` those that follow on the last.
    """

    def __init__(
        self,
        links: tuple[Link, ...],
        behind: tuple[LayerMap, ...],
        cut: bool,
        drops_batch: bool,
        mixed: bool,
    ) -> None:
        super().__init__("the size does not fit")
        self.links = links
        self.behind = behind
        self.cut = cut
        """Whether it would have cut samples, and not refused them."""
        self.drops_batch = drops_batch
        """Whether a whole batch becomes one sample, or a vector: nn.View(1, -1), nn.View(-1)."""
        self.mixed = mixed
        """Whether it would run, but mix rows with columns or planes."""


class SizeWalk(Walk):
    """A walk that tells, where a layer refuses a size, which images led there."""

    def call_op(self, op: LayerMap, inputs: list[TorchTensor]) -> tuple[Value, ...]:
        values = tuple(tensor.value for tensor in inputs)
        try:
            outputs = super().call_op(op, inputs)
        except ShapeMismatch:
            self.refuse(op, values, cut=False)
            raise
        if op.regroups and not keeps_borders(values[0].shape, outputs[0].shape):
            self.refuse(op, values, cut=True, drops_batch=outputs[0].shape[:1] == (1,))
        if op.regroups and mixes_axes(values[0].shape, outputs[0].shape):
            self.refuse(op, values, cut=False, mixed=True)
        return outputs

    def refuse(
        self,
        op: LayerMap,
        inputs: tuple[Value, ...],
        cut: bool,
        drops_batch: bool = False,
        mixed: bool = False,
    ) -> None:
        """Raise Refused where a chain of layers leads from an image to the refusing one."""
        fewest, most = op.arity()
        if not fewest <= len(inputs) <= most:  # refused whatever the sizes are
            return
        drops_batch |= inputs[0].type.rank == 1
        makers = {value.id: node for node in self.nodes for value in node.outputs}
        behind: list[LayerMap] = []
        links: list[Link] = []
        while len(inputs) == 1:
            if inputs[0].type.rank == 4:
                links.append(Link(op, inputs[0].type))
            elif links:
                break
            else:
                behind.append(op)
            if inputs[0].id not in makers:
                break
            node = makers[inputs[0].id]
            op, inputs = node.op, node.inputs
        if links:
            chain = (tuple(reversed(links)), tuple(reversed(behind)))
            raise Refused(*chain, cut, drops_batch, mixed)


@dataclass(frozen=True)
class Fixed:
    """Where sizes are fixed: the extents of inputs by their extents there, and what follows."""

    planes: int
    rows: dict[int, list[int]]
    columns: dict[int, list[int]]
    behind: tuple[LayerMap, ...]
    refused: set[int] = field(default_factory=set)
    """Numbers of pixels that a layer refused."""
    outputs: dict[tuple[int, TensorType], TensorType | None] = field(default_factory=dict)
    """What each layer makes of a type: strides round thousands of images to a few."""

    def takes(self, batch: int, rows: int, columns: int) -> bool:
        """Whether the layers behind take a batch of images of so many rows and columns."""
        if self.count_alone and rows * columns in self.refused:
            return False
        types = self.types(TensorType((batch, self.planes, rows, columns)))
        if types is None:
            self.refused.add(rows * columns)
            return False
        keeps_samples = all(
            keeps_borders(before.static, after.static)
            and not mixes_axes(before.static, after.static)
            for op, before, after in zip(self.behind, types, types[1:], strict=False)
            if op.regroups
        )
        last = types[-1]
        return keeps_samples and (last.shape[0] == batch or (batch == 1 == last.rank))

    def types(self, type: TensorType) -> list[TensorType] | None:
        """What the layers behind make of an image, one after the other; None if one refuses it."""
        types = [type]
        for position in range(len(self.behind)):
            after = self.output(position, types[-1])
            if after is None:
                return None
            types.append(after)
        return types

    def output(self, position: int, type: TensorType) -> TensorType | None:
        """What one of the layers makes of a type, or None if it refuses that."""
        key = position, type
        if key not in self.outputs:
            if len(self.outputs) == MAX_OUTPUTS:
                self.outputs.clear()
            try:
                (self.outputs[key],) = self.behind[position].output_types(type)
            except (WalkError, ValueError):
                self.outputs[key] = None
        return self.outputs[key]

    @property
    def count_alone(self) -> bool:
        """Whether the layers see the number of pixels only: the first regroups them."""
        return self.behind[0].regroups


def oblong_sizes(refused: dict[int, Refused], batch: int) -> Iterator[tuple[list[int], list[int]]]:
    """Heights and widths with which a model's fixed-size layers are content, likeliest first.

    `refused` tells by their side how square images, so many in a batch, were refused. All heights
    of one pair come to the same, and all widths: strides round them.
    """
    fixed = fixed_layers(refused)
    if fixed is None:
        return
    # A net that keeps the size of its images has every extent here; the large ones go untried.
    heights, widths = (
        {extent: likeliest(sides) for extent, sides in sorted(each.items())[:MAX_EXTENTS]}
        for each in (fixed.rows, fixed.columns)
    )
    pairs = product(heights, widths)
    for rows, columns in sorted(
        pairs, key=lambda pair: likelihood(heights[pair[0]], widths[pair[1]])
    ):
        if fixed.takes(batch, rows, columns):
            yield fixed.rows[rows], fixed.columns[columns]


def likelihood(height: int, width: int) -> tuple[int, int]:
    """Sorts images: those nearest to a square first, of these the roundest.

    Published nets take images of at most two to one, then strips of text or sound; a height or
    width is more often divisible by 8 than not.
    """
    halves = round(2 * abs(math.log2(height / width)))
    return halves, roundness(height)[0] + roundness(width)[0]


def likeliest(extents: Sequence[int]) -> int:
    """Of extents that a stride rounds to the same the one that a net was probably made for."""
    return next((extent for extent in extents if extent % 8 == 0), min(extents, key=roundness))


def fixed_layers(refused: dict[int, Refused]) -> Fixed | None:
    """The first layers that are of fixed size, where a single chain leads to each.

    Of several branches the one that refuses most counts. Images that are too small are refused by
    earlier layers. Those count where not all pairs of rows and columns have a square image that
    comes through.
    """
    if not refused:
        return None
    refusing = [(each.links[-1].op, *each.behind)[-1] for each in refused.values()]
    strictest, _ = Counter(map(id, refusing)).most_common(1)[0]
    chains = [
        each
        for each in refused.values()
        if strictest in map(id, (*(link.op for link in each.links), *each.behind))
    ]
    longest = max(chains, key=lambda each: (len(each.links), len(each.behind)))
    for start, link in enumerate(longest.links):
        is_last = start == len(longest.links) - 1
        if not is_last and not any(op is link.op for op in refusing):
            continue
        rows, columns = by_extent(extents_at(link.op, refused))
        if is_last or len(rows) * len(columns) <= MAX_PAIRS:
            behind = (*(each.op for each in longest.links[start:]), *longest.behind)
            return Fixed(link.image.static[1], rows, columns, behind)
    return None


def extents_at(op: LayerMap, refused: dict[int, Refused]) -> dict[int, tuple[int, int]]:
    """Rows and columns of the images that a layer was given, by the side of the input."""
    return {
        side: (link.image.static[2], link.image.static[3])
        for side, each in refused.items()
        for link in each.links
        if link.op is op
    }


def by_extent(
    found: dict[int, tuple[int, int]],
) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """The sides that come to the same number of rows, and those to the same of columns."""
    rows: dict[int, list[int]] = {}
    columns: dict[int, list[int]] = {}
    for side, (height, width) in sorted(found.items()):
        rows.setdefault(height, []).append(side)
        columns.setdefault(width, []).append(side)
    return rows, columns
