"""OpenNMT's modules: names for nets of nn's modules, and two layers of its own.

Source: OpenNMT onmt/modules/Network.lua and the classes that derive from it, Generator.lua,
Sequencer.lua, VariationalDropout.lua, JoinReplicateTable.lua, PositionEmbedding.lua.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from porter.layer_maps.composites import inside
from porter.layer_maps.containers import dimension_to_axis
from porter.layer_maps.dropout import Scaling, drop
from porter.layer_maps.table import table_of_tensors
from porter.maps import (
    INT,
    Array,
    BadField,
    BadTable,
    HintsInputs,
    LayerMap,
    Nested,
    OpContext,
    Options,
    Shape,
    TensorType,
    TorchObject,
    Value,
    Walk,
    integer,
    number,
    param,
    register,
    size,
    structure,
)


@structure(
    "onmt.Bridge",
    "onmt.FeaturesEmbedding",
    "onmt.GRU",
    "onmt.GlobalAttention",
    "onmt.LSTM",
    "onmt.MaskedSoftmax",
    "onmt.Network",
    "onmt.NoAttention",
    "onmt.WordEmbedding",
)
def network(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The output of the net inside."""
    return walk(inside(walk, module, "net"), x, at="1")


@structure("onmt.Generator", "onmt.FeaturesGenerator")
def generator(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """Log-probabilities of words, and of their features, from the first entry of a table."""
    if isinstance(x, list):
        if not x:
            raise BadTable(f"{module.typename} should be given a tensor", received="an empty table")
        x = x[0]
    return network(walk, module, x)


@structure("onmt.Encoder", "onmt.Decoder", "onmt.Sequencer", note="one step of the sequence")
def one_step(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """One step: the net that OpenNMT runs for each word, from states and word to new states."""
    walk.note("one step of the sequence: OpenNMT's own code calls it for each word")
    return walk(inside(walk, module, "network"), x, at="1")


@register("onmt.VariationalDropout", note="identity; drops in training only")
class VariationalDropout(Scaling):
    """x: in training elements are dropped with probability `p`, in Torch the same at every step."""

    p = number("p", 0.5)

    @property
    def factor(self) -> float:
        return 1.0

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        return drop(tf, x, tf.shape(x), self.p, 1 / (1 - self.p))


@structure("onmt.JoinReplicateTable")
def join_replicated(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """Tensors joined along `dimensionJoin`, those of size 1 along `dimensionReplicate` repeated."""
    tensors = table_of_tensors(module, x)
    rank = tensors[0].type.rank
    axes = []
    for name in ("dimensionReplicate", "dimensionJoin"):
        dimension = module.integer(name)
        if dimension > 0 and rank == module.integer("nInputDims", -1) + 1:
            dimension += 1
        axes.append(dimension_to_axis(module, dimension, rank))
    return walk.emit(JoinReplicated(repeated=axes[0], joined=axes[1]), *tensors)


class JoinReplicated(LayerMap):
    """Tensors concatenated along axis `joined`; size 1 along `repeated` is expanded."""

    repeated = integer("repeated")
    joined = integer("joined")

    def output_shape(self, *shapes: Shape) -> Shape:
        ranks = {len(shape) for shape in shapes}
        self.require(len(ranks) == 1, "joins tensors of equally many dimensions", *shapes)
        self.require(self.repeated != self.joined, "repeats along another dimension than it joins")
        longest = max(shape[self.repeated] for shape in shapes)
        for shape in shapes:
            others = [
                extent == expected or axis in (self.joined, self.repeated)
                for axis, (extent, expected) in enumerate(zip(shape, shapes[0], strict=True))
            ]
            fits = all(others) and shape[self.repeated] in (1, longest)
            self.require(fits, "joins tensors that agree in all other dimensions", *shapes)
        output = list(shapes[0])
        output[self.repeated] = longest
        output[self.joined] = sum(shape[self.joined] for shape in shapes)
        return tuple(output)

    def reference(self, *xs: Array) -> Array:
        longest = max(x.shape[self.repeated] for x in xs)
        expanded = [
            x if x.shape[self.repeated] == longest else np.repeat(x, longest, axis=self.repeated)
            for x in xs
        ]
        return np.concatenate(expanded, axis=self.joined)

    def apply(self, tf: Any, *xs: Any, at: OpContext) -> Any:
        single = [type.shape[self.repeated] == 1 for type in at.inputs]
        if any(single) and not all(single):
            longest = size(tf, xs[single.index(False)], self.repeated)
            xs = tuple(
                tf.repeat(x, longest, axis=self.repeated) if is_single else x
                for x, is_single in zip(xs, single, strict=True)
            )
        return tf.concat(list(xs), axis=self.joined)


@register("onmt.PositionEmbedding")
class PositionEmbedding(LayerMap, HintsInputs):
    """{N×T×…, N lengths}: for each place its row of `weight`, N×T×O.

    The texts are padded in front. Row 1 is that of padding, row 2 of the first word, and the last
    that of all places behind `max_pos`.
    """

    weight = param("IO")
    dimension = integer("dimension")
    longest = integer("max_pos")

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        if self.weight.shape[0] != self.longest + 1:
            raise BadField(
                f"'weight' of {self.typename} should have max_pos + 1 = {self.longest + 1} rows",
                received=str(self.weight.shape[0]),
            )
        return self

    def output_shape(self, x: Shape, lengths: Shape) -> Shape:
        self.require(len(x) == 3 and lengths == x[:1], "takes N×T×F and N lengths", x, lengths)
        self.require(self.dimension in (2, -2), "counts places along the second dimension", x)
        return (*x[:2], self.weight.shape[1])

    def reference(self, x: Array, lengths: Array) -> Array:
        padding = x.shape[1] - lengths.astype(np.int64)[:, None]
        places = np.arange(x.shape[1]) - padding + 1
        rows: Array = self.weight.array[np.clip(places, 0, self.longest)]
        return rows

    def apply(self, tf: Any, x: Any, lengths: Any, at: OpContext) -> Any:
        steps = size(tf, x, 1)
        padding = tf.subtract(steps, tf.cast(lengths, tf.int32))
        places = tf.subtract(tf.expand_dims(tf.range(1, steps + 1), 0), tf.expand_dims(padding, 1))
        rows = tf.clip_by_value(places, 0, self.longest)
        return tf.gather(at.variable(self.weight), rows)

    def input_hint_at(
        self, position: int, inputs: Sequence[TensorType | None]
    ) -> TensorType | None:
        return TensorType((None,), INT) if position == 1 else TensorType((None, None, None))
