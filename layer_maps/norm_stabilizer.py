"""A penalty between the steps of a sequence, which affects gradients only.

Source: rnn NormStabilizer.lua (Krueger and Memisevic, Regularizing RNNs by Stabilizing Activations,
2015).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.layer_maps.containers import one_tensor
from porter.maps import (
    Accepts,
    Array,
    LayerMap,
    Nested,
    OpContext,
    Start,
    TensorType,
    TorchObject,
    Types,
    Value,
    Walk,
    keep,
    leaves,
    number,
    previous,
    structure,
)


class NormPenalty(LayerMap):
    """h as it is; in training the gradient of beta/N · Σ (‖h‖ − ‖h before‖)² is added to both.

    h is N×H. Also takes and gives one number that is 0 before the first step, which has no step
    before it, and 1 afterwards.
    """

    beta = number("beta", 1.0)
    accepts = Accepts.TORCH

    def output_types(self, *inputs: TensorType) -> Types:
        h, before, started = inputs
        self.require(h.rank == 2 and h.shape == before.shape, "takes N×H", h.static)
        return (h, started)

    def reference(self, h: Array, before: Array, started: Array) -> tuple[Array, ...]:
        return h, np.ones_like(started)

    def apply(self, tf: Any, h: Any, before: Any, started: Any, at: OpContext) -> Any:
        return h, tf.ones_like(started)

    def train(self, tf: Any, h: Any, before: Any, started: Any, at: OpContext) -> Any:
        lengths = [tf.norm(each, axis=1, keepdims=True) for each in (h, before)]
        count = tf.cast(tf.shape(h)[0], at.dtype)
        slope = tf.multiply(tf.subtract(*lengths), 2 * self.beta)
        slope = tf.multiply(tf.divide(slope, count), started)

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def penalised(h: Any, before: Any) -> Any:
            now, then = (
                tf.multiply(slope, tf.math.divide_no_nan(each, length))
                for each, length in zip((h, before), lengths, strict=True)
            )
            return tf.identity(h), lambda dy: (tf.add(dy, now), tf.negative(then))

        return penalised(h, before), tf.ones_like(started)


@structure("nn.NormStabilizer", note="identity; a penalty that adds to gradients")
def norm_stabilizer(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The tensor itself. Torch's penalty applies to batches only."""
    walk.note("identity: changes gradients only")
    if not isinstance(x, Value) or x.type.rank != 2:
        return x
    h = one_tensor(module, x)
    start: list[Nested[Start]] = [Start(h.shape, batched=True), Start((1,), batched=False)]
    before = leaves(previous(walk, module, start, h))
    outputs = list(walk.run(NormPenalty.from_torch(module, walk.model.options), h, *before))
    keep(walk, module, list(outputs))
    return outputs[0]
