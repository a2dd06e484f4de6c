"""Borders: zeros, a constant, or elements of the image itself; negative amounts crop.

Source: torch/nn SpatialZeroPadding.lua, Padding.lua, SpatialReflectionPadding.lua,
SpatialReplicationPadding.lua, VolumetricReplicationPadding.lua and the THNN files of these names;
DeepMask SpatialSymmetricPadding.lua; texture_nets SpatialCircularPadding.lua; fast-neural-style
ShaveImage.lua.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from porter.layer_maps.gradients import with_gradient_of
from porter.maps import (
    POINTWISE,
    Accepts,
    Array,
    BySample,
    Field,
    HasKerasLayer,
    HasReach,
    LayerMap,
    OpContext,
    Options,
    Reach,
    Shape,
    TensorType,
    TorchObject,
    integer,
    integers,
    number,
    optional_integer,
    register,
    size,
)


class Border(LayerMap, BySample, HasReach):
    """`pads` elements before and after each spatial axis; negative amounts remove elements."""

    pads: Field[tuple[int, ...]] = integers("pad_t", "pad_b", "pad_l", "pad_r")
    accepts = Accepts.ANY_ORDER
    moves = keeps_planes = True
    ranks: ClassVar[tuple[int, ...]] = (3, 4)

    def edges(self) -> Iterator[tuple[int, int, int]]:
        """Each spatial axis, counted from the end, with the padding before and after it."""
        pairs = list(zip(self.pads[::2], self.pads[1::2], strict=True))
        for axis, (before, behind) in enumerate(pairs, start=-len(pairs)):
            yield axis, before, behind

    def output_shape(self, x: Shape) -> Shape:
        ranks = " or ".join(map(str, self.ranks))
        self.require(len(x) in self.ranks, f"takes tensors with {ranks} axes", x)
        shape = list(x)
        for axis, before, behind in self.edges():
            self.check(x, x[axis], before, behind)
            shape[axis] += before + behind
            self.require(shape[axis] > 0, f"crops {self.pads}: nothing is left", x)
        return tuple(shape)

    def is_by_sample(self) -> bool:
        return True

    def reach(self, axis: int, inputs: Sequence[TensorType]) -> Reach | None:
        """Rows of the border are those beside it."""
        for each, before, behind in self.edges():
            if each == axis - 4:
                mirrored = max(before, 0) + max(behind, 0)
                return Reach(2 * mirrored, abs(before) + abs(behind))
        return POINTWISE

    def check(self, x: Shape, n: int, before: int, behind: int) -> None:
        """Refuse amounts that an axis of n elements does not allow."""


class Mirror(Border):
    """A border whose elements are elements of the image: one gather for each axis."""

    def reference(self, x: Array) -> Array:
        for axis, before, behind in self.edges():
            n = x.shape[axis]
            x = x.take([self.source(i, n) for i in range(-before, n + behind)], axis)
        return x

    @abc.abstractmethod
    def source(self, i: int, n: int) -> int:
        """Which of n elements is read at i, where 0 is the first and -1 is before it."""

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        for torch_axis, before, behind in self.edges():
            if before or behind:
                axis = at.axis(torch_axis)
                n = size(tf, x, axis)
                places = self.sources(tf, tf.range(-before, tf.add(n, behind)), n)
                x = tf.gather(x, places, axis=axis)
        return x

    @abc.abstractmethod
    def sources(self, tf: Any, places: Any, n: Any) -> Any:
        """`source` for a vector of places."""


class ReplicationPadding(Mirror):
    """aaa[abcd]ddd: the nearest element."""

    def source(self, i: int, n: int) -> int:
        return 0 if i < 0 else n - 1 if i >= n else i

    def sources(self, tf: Any, places: Any, n: Any) -> Any:
        return tf.clip_by_value(places, 0, tf.subtract(n, 1))


@register("nn.SpatialReplicationPadding")
class SpatialReplicationPadding(ReplicationPadding):
    """The nearest element, around H and W."""


@register("nn.VolumetricReplicationPadding")
class VolumetricReplicationPadding(ReplicationPadding):
    """The nearest element, around T, H and W."""

    pads = integers("pfront", "pback", "ptop", "pbottom", "pleft", "pright")
    ranks = (4, 5)


@register("nn.SpatialReflectionPadding")
class SpatialReflectionPadding(Mirror):
    """dcb[abcd]cba: mirrored at the outermost elements, which are not repeated.

    With a border as wide as the image Torch reads outside the tensor; here it is an error.
    """

    def check(self, x: Shape, n: int, before: int, behind: int) -> None:
        self.require(max(before, behind) < n, f"mirrors {self.pads}: more than its input has", x)

    def source(self, i: int, n: int) -> int:
        return -i if i < 0 else 2 * (n - 1) - i if i >= n else i

    def sources(self, tf: Any, places: Any, n: Any) -> Any:
        last = tf.subtract(n, 1)
        return tf.subtract(last, tf.abs(tf.subtract(last, tf.abs(places))))


@register("nn.SpatialSymmetricPadding")
class SpatialSymmetricPadding(Mirror):
    """cba[abcd]dcb: mirrored with the outermost elements repeated; batches only."""

    ranks = (4,)

    def check(self, x: Shape, n: int, before: int, behind: int) -> None:
        left = n + min(before, 0) + min(behind, 0)
        self.require(max(before, behind) <= left, f"mirrors {self.pads}: more than there is", x)

    def source(self, i: int, n: int) -> int:
        return -1 - i if i < 0 else 2 * n - 1 - i if i >= n else i

    def sources(self, tf: Any, places: Any, n: Any) -> Any:
        folded = tf.maximum(places, tf.subtract(-1, places))
        return tf.minimum(folded, tf.subtract(tf.subtract(tf.multiply(n, 2), 1), folded))


@register("nn.SpatialCircularPadding")
class SpatialCircularPadding(Mirror):
    """bcd[abcd]abc: the opposite side, corners included.

    Torch fills rows first and then takes columns out of the padded rows, and fails at borders of 0.
    """

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        if module.boolean("active", True):
            return self
        op = self.evolve(pads=(0, 0, 0, 0))
        return op.with_notes("no border, since `active` is false")

    def reach(self, axis: int, inputs: Sequence[TensorType]) -> Reach | None:
        return None

    def check(self, x: Shape, n: int, before: int, behind: int) -> None:
        self.require(max(before, behind) <= n, f"wraps {self.pads}: more than its input has", x)

    def source(self, i: int, n: int) -> int:
        return i + n if i < 0 else i - n if i >= n else i

    def sources(self, tf: Any, places: Any, n: Any) -> Any:
        return tf.math.floormod(places, n)

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        """The class adds up the gradients of its four sides, and forgets those of the corners."""
        out = self.apply(tf, x, at=at)
        in_border = [
            tf.reshape(
                tf.pad(
                    tf.zeros([size(tf, x, at.axis(axis))], at.dtype),
                    [[before, behind]],
                    constant_values=1,
                ),
                [-1 if each == at.axis(axis) else 1 for each in range(len(x.shape))],
            )
            for axis, before, behind in self.edges()
        ]
        inside = tf.subtract(tf.constant(1, at.dtype), tf.multiply(*in_border))
        return with_gradient_of(tf, out, tf.multiply(out, inside))


class ZeroPadding(Border, HasKerasLayer):
    """Zeros around the image."""

    def check(self, x: Shape, n: int, before: int, behind: int) -> None:
        left = n + min(before, 0) + min(behind, 0)
        self.require(left > 0, f"crops {self.pads}: nothing is left", x)

    def reference(self, x: Array) -> Array:
        out = np.zeros(self.output_shape(x.shape), x.dtype)
        target, source = [slice(None)] * x.ndim, [slice(None)] * x.ndim
        for axis, before, behind in self.edges():
            n = x.shape[axis]
            target[axis] = slice(max(before, 0), n + before + min(behind, 0))
            source[axis] = slice(max(-before, 0), n + min(behind, 0))
        out[tuple(target)] = x[tuple(source)]
        return out

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        rank = len(x.shape)
        begin, end, added = [0] * rank, [0] * rank, [[0, 0] for _ in range(rank)]
        for torch_axis, before, behind in self.edges():
            axis = at.axis(torch_axis)
            begin[axis], end[axis] = max(-before, 0), min(behind, 0)
            added[axis] = [max(before, 0), max(behind, 0)]
        if any(begin) or any(end):
            whole = sum(1 << axis for axis in range(rank) if end[axis] == 0)
            x = tf.strided_slice(x, begin, end, [1] * rank, end_mask=whole)
        return tf.pad(x, added) if any(map(any, added)) else x

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        if at.inputs[0].rank != 4 or at.axis(1) != 3:
            return None
        sides = [(before, behind) for _, before, behind in self.edges()]
        cropped = k.cropped(x, [(max(-a, 0), max(-b, 0)) for a, b in sides])
        return k.padded(cropped, [(max(a, 0), max(b, 0)) for a, b in sides])


@register("nn.SpatialZeroPadding")
class SpatialZeroPadding(ZeroPadding):
    """Zeros around H and W."""


@register("nn.ShaveImage")
class ShaveImage(ZeroPadding):
    """`size` elements less on all four sides of N×C×H×W."""

    pads = Field(lambda module: (-module.integer("size"),) * 4)
    ranks = (4,)


@register("nn.Padding")
class Padding(LayerMap):
    """|pad| times `value` inserted into one dimension, before its element `index` (1-based).

    For positive `pad` the index counts from the end, so that 1 appends. `nInputDim` shifts the
    dimension by one for inputs with any other number of dimensions.
    """

    dimension = integer("dim")
    pad = integer("pad")
    sample_rank = optional_integer("nInputDim")
    value = number("value", 0.0)
    index = integer("index", 1)
    accepts = Accepts.ANY_ORDER

    def axis(self, rank: int) -> int:
        """The 0-based axis that grows."""
        shifted = self.sample_rank is not None and self.sample_rank != rank
        return self.dimension - 1 + shifted

    def elements_before(self, n: int) -> int:
        """The number of the n elements before the padding."""
        return n - self.index + 1 if self.pad > 0 else self.index - 1

    def output_shape(self, x: Shape) -> Shape:
        axis = self.axis(len(x))
        self.require(0 <= axis < len(x), f"pads dimension {axis + 1}", x)
        self.require(1 <= self.index <= x[axis] + 1, f"pads at element {self.index}", x)
        return (*x[:axis], x[axis] + abs(self.pad), *x[axis + 1 :])

    def reference(self, x: Array) -> Array:
        axis = self.axis(x.ndim)
        place = self.elements_before(x.shape[axis])
        return np.insert(x, [place] * abs(self.pad), x.dtype.type(self.value), axis=axis)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        rank, axis = len(x.shape), at.axis(self.axis(at.inputs[0].rank))
        amount, beyond = abs(self.pad), self.index - 1
        if beyond == 0:
            # The padding is at an end: behind if positive, in front if negative.
            added = [[0, 0] for _ in range(rank)]
            added[axis] = [0, amount] if self.pad > 0 else [amount, 0]
            return tf.pad(x, added, constant_values=self.value)
        n = size(tf, x, axis)
        sizes = (
            [tf.subtract(n, beyond), beyond] if self.pad > 0 else [beyond, tf.subtract(n, beyond)]
        )
        first, second = tf.split(x, tf.stack(sizes), axis=axis, num=2)
        empty = [[0, 0] for _ in range(rank)]
        empty[axis] = [0, amount]
        return tf.concat([tf.pad(first, empty, constant_values=self.value), second], axis=axis)
