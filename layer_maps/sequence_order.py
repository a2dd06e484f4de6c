"""Sequences read backwards.

Source: Element-Research rnn SeqBRNN.lua, SeqReverseSequence.lua.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.maps import (
    Array,
    LayerMap,
    Nested,
    OpContext,
    Shape,
    TorchObject,
    Value,
    Walk,
    integer,
    register,
    structure,
)


@register("nn.SeqReverseSequence")
class SeqReverseSequence(LayerMap):
    """The elements of dimension `dim` (1-based, batch counted) in opposite order."""

    moves = True

    dimension = integer("dim")

    def output_shape(self, x: Shape) -> Shape:
        self.require(0 < self.dimension <= len(x), f"reverses dimension {self.dimension}", x)
        return x

    def reference(self, x: Array) -> Array:
        return np.flip(x, axis=self.dimension - 1)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.reverse(x, [self.dimension - 1])


@structure("nn.SeqBRNN")
def seq_brnn(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """Forward and backward in time, added: a composition of other modules, saved with it."""
    return walk(walk.only_child(module), x, at="1")
