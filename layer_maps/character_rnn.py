"""Character-level language models of Karpathy's char-rnn and Johnson's torch-rnn.

Source: karpathy/char-rnn OneHot.lua, Embedding.lua; jcjohnson/torch-rnn LSTM.lua, VanillaRNN.lua,
LanguageModel.lua.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from porter.layer_maps.containers import Fuse, Unfuse, one_tensor
from porter.layer_maps.lookup import Lookup
from porter.layer_maps.sequence_rnn import OverSequence
from porter.maps import (
    FLOAT,
    INT,
    Array,
    BadField,
    Field,
    HintsInput,
    LayerMap,
    Nested,
    OpContext,
    Shape,
    ShapeMismatch,
    TakesIndices,
    TensorType,
    TorchObject,
    Value,
    Walk,
    describe,
    integer,
    optional_integer,
    register,
    structure,
)

# char-rnn -----------------------------------------------------------------------------------------


@register("OneHot")
class CharacterOneHot(LayerMap, HintsInput, TakesIndices):
    """N×`outputSize` zeros for N indices from 1, with a 1 at each sample's index."""

    classes = integer("outputSize")

    def output_types(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        (x,) = inputs
        self.require(self.classes > 0, f"makes vectors of {self.classes} elements", x.static)
        self.require(x.rank == 1, "takes a vector of indices", x)
        return (TensorType((*x.static, self.classes), FLOAT),)

    def reference(self, x: Array) -> Array:
        rows: Array = np.eye(self.classes)[x.astype(np.int64) - 1]
        return rows.astype(x.dtype) if np.issubdtype(x.dtype, np.floating) else rows

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.one_hot(tf.subtract(tf.cast(x, tf.int64), 1), self.classes, dtype=at.dtype)

    def input_hint(self) -> TensorType:
        return TensorType((None,), INT)

    def index_limit(self, position: int, inputs: Sequence[TensorType]) -> int | None:
        return self.classes


@register("Embedding")
class Embedding(Lookup):
    """N×O: row i of `weight` for each index i of a vector, counted from 1."""

    first = 1
    blank: Field[int | None] = optional_integer("unk_index")

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) == 1, "takes a vector of indices", x)
        return super().output_shape(x)

    def input_hint(self) -> TensorType:
        return TensorType((None,), INT)


# torch-rnn ----------------------------------------------------------------------------------------


@register("nn.VanillaRNN")
class VanillaRNN(OverSequence):
    """h = tanh(x·Wx + h·Wh + b) at every step of N×T×D. Takes x, or {h, x}."""

    gates = 1
    batch_first: Field[bool] = Field(lambda _: True, True)

    def cell(self, x: Array, *states: Array) -> list[Array]:
        (h,) = states
        return [np.tanh(np.concatenate([x, h], axis=1) @ self.weight.array + self.bias.array)]

    def step(
        self, tf: Any, share: Any, states: list[Any], weight: Any, extra: list[Any]
    ) -> list[Any]:
        (h,) = states
        return [tf.tanh(tf.add(share, tf.matmul(h, weight)))]


@structure("nn.LanguageModel")
def language_model(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """Scores N×T×V of the next token for N×T tokens: the net in `net`.

    Its views flatten N and T before a layer over N·T samples, and restore them after it: Torch
    sets their sizes at every call, so those in the file are not used.
    """
    tokens = one_tensor(module, x)
    if "view1" not in module or "view2" not in module:
        raise BadField(
            "nn.LanguageModel is mapped as torch-rnn defines it, with `net`, `view1` and `view2`; "
            "neuraltalk2 and DenseCap have classes of the same name",
            received="fields " + ", ".join(sorted(str(key) for key in module.fields)),
        )
    if tokens.type.rank != 2:
        raise ShapeMismatch("nn.LanguageModel takes N×T tokens", received=str(tokens.type))
    flattening = indices_of(module, "view1", "bn_view_in")
    restoring = indices_of(module, "view2", "bn_view_out")
    y: Nested[Value] = tokens
    for position, child in enumerate(walk.children(module.object("net")), start=1):
        if child.index in flattening:
            y = walk.emit(Fuse(count=2), one_tensor(child, y))
        elif child.index in restoring:
            y = walk.emit(Unfuse(count=2), one_tensor(child, y), tokens)
        else:
            y = walk(child, y, at=f"net.{position}")
    return y


def indices_of(module: TorchObject, single: str, several: str) -> set[int]:
    """The objects in a field, and those of a list that old models lack."""
    listed = module.list(several) if several in module else []
    objects = [module.object(single), *listed]
    for item in objects:
        if not isinstance(item, TorchObject):
            raise BadField(
                f"'{several}' of nn.LanguageModel should list modules", received=describe(item)
            )
    return {item.index for item in objects}
