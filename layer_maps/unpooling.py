"""Max-unpooling: values return to the positions of the maxima.

Source: torch/nn SpatialMaxUnpooling.lua, VolumetricMaxUnpooling.lua; THNN SpatialMaxUnpooling.c,
VolumetricMaxUnpooling.c.

In Torch the pooling module remembers where its maxima were, and the unpooling module refers to it.
Here unpooling is a layer of two inputs: the values to spread, and the input of its pooling. The
pooling itself stays a plain maximum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from porter.layer_maps.containers import one_tensor
from porter.layer_maps.pooling import MaxPooling
from porter.layer_maps.windows import LOWEST, passing_over_nan, surround, without_nan
from porter.maps import (
    Accepts,
    Array,
    BadField,
    Field,
    LayerMap,
    Nested,
    OpContext,
    Shape,
    TorchObject,
    Value,
    Walk,
    WalkError,
    is_layer_map,
    raw,
    size,
    structure,
)


@structure("nn.SpatialMaxUnpooling", "nn.VolumetricMaxUnpooling")
def max_unpooling(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """Undo the last call of the pooling module that the unpooling refers to."""
    unpooling = SpatialMaxUnpooling if "Spatial" in module.typename else VolumetricMaxUnpooling
    pooling = module.object("pooling")
    handler = walk.model.registry.get(pooling.typename)
    pools = handler is not None and is_layer_map(handler) and issubclass(handler, MaxPooling)
    op = walk.model.op(pooling) if pools else None
    if not isinstance(op, MaxPooling) or op.spatial_rank != unpooling.spatial_rank:
        raise BadField(
            f"field 'pooling' of {module.typename} should be a max pooling of the same rank",
            received=pooling.typename,
        )
    call = next((node for node in reversed(walk.nodes) if node.op is op), None)
    if call is None:
        raise WalkError(
            f"{module.typename} undoes a pooling that was not run before it",
            hint="The file must hold the very module that pools: save the model again with sharing "
            "kept (`referenced` not false, no clone of the pooling).",
        )
    undo = unpooling(pooling=op).evolve(typename=module.typename)
    # The pooling's input as it was then, even if an in-place layer has overwritten it since.
    pooled = walk.memory.constant(call.inputs[0])
    return walk.call_op(undo, [walk.memory.tensor(one_tensor(module, x)), pooled])[0]


def spread(tf: Any, x: Any, source: Any, kernel: Sequence[int]) -> Any:
    """Zeros like the images `source`, with each element of `x` where its window had its maximum.

    The places of a window are compared with its maximum one after the other. TensorFlow's search
    for the maximum and its scatter take four times as long, and LiteRT has no such search.
    """
    down, right = kernel
    largest = tf.nn.max_pool2d(source, kernel, kernel, "VALID")
    samples, high, wide, planes = (size(tf, largest, axis) for axis in range(4))
    extents = tf.stack([samples, high * down, wide * right, planes])
    whole = tf.slice(source, [0, 0, 0, 0], extents)
    windows = tf.reshape(whole, tf.stack([samples, high, down, wide, right, planes]))
    places = tf.reshape(
        tf.transpose(windows, [2, 4, 0, 1, 3, 5]),
        tf.stack([down * right, samples, high, wide, planes]),
    )
    largest, x = tf.expand_dims(largest, 0), tf.expand_dims(x, 0)
    nothing, outputs = tf.zeros_like(x), []
    sought = tf.equal(largest, largest)
    for place in range(down * right):
        values = tf.slice(places, [place, 0, 0, 0, 0], [1, -1, -1, -1, -1])
        found = tf.logical_and(sought, tf.equal(values, largest))
        sought = tf.logical_and(sought, tf.not_equal(values, largest))
        outputs.append(tf.where(found, x, nothing))
    spread_out = tf.reshape(
        tf.concat(outputs, 0), tf.stack([down, right, samples, high, wide, planes])
    )
    out = tf.reshape(tf.transpose(spread_out, [2, 3, 0, 4, 1, 5]), extents)
    beyond = [tf.subtract(size(tf, source, axis), size(tf, out, axis)) for axis in (1, 2)]
    return tf.pad(out, [[0, 0], [0, beyond[0]], [0, beyond[1]], [0, 0]])


class MaxUnpooling(LayerMap):
    """`x` at the places of the maxima of `source`, zero elsewhere; the first of equal maxima.

    Windows do not overlap: the kernel is the stride.
    """

    pooling: Field[MaxPooling] = raw("pooling")
    accepts = Accepts.CHANNELS_LAST

    def output_shape(self, x: Shape, source: Shape) -> Shape:
        pooled = self.pooling.output_shape(source)
        self.require(x == pooled, f"takes as many elements as its pooling made, {pooled}", x)
        plain = self.pooling.kernel == self.pooling.stride and max(self.pooling.dilation) == 1
        self.require(plain, "undoes poolings without dilation whose kernel is their stride")
        return source

    def reference(self, x: Array, source: Array) -> Array:
        rank = self.spatial_rank
        out = np.zeros_like(source)
        source = passing_over_nan(source)
        flat_in = x.reshape(-1, *x.shape[-rank:])
        flat_source = source.reshape(-1, *source.shape[-rank:])
        flat_out = out.reshape(flat_source.shape)
        planes = np.arange(len(flat_in))
        windows = [self.pooling.elements(n, axis) for axis, n in enumerate(source.shape[-rank:])]
        for cell in np.ndindex(*x.shape[-rank:]):
            window = np.ix_(planes, *(windows[axis][i] for axis, i in enumerate(cell)))
            elements = flat_source[window]
            first = elements.reshape(len(planes), -1).argmax(axis=1)
            inside = np.unravel_index(first, elements.shape[1:])
            at = [np.asarray(windows[a][i])[inside[a]] for a, i in enumerate(cell)]
            flat_out[(planes, *at)] = flat_in[(planes, *cell)]
        return out

    def apply(self, tf: Any, x: Any, source: Any, at: OpContext) -> Any:
        batched = at.inputs[0].rank == self.spatial_rank + 2
        if not batched:
            x, source = tf.expand_dims(x, 0), tf.expand_dims(source, 0)
        pads = self.pooling.pads(at.inputs[1])
        source = without_nan(tf, source, self.pooling.nan)
        out = self.unpool(tf, x, surround(tf, source, pads, LOWEST))
        if any(map(any, pads)):
            begin = [0, *(before for before, _ in pads), 0]
            out = tf.slice(out, begin, tf.shape(source))
        return out if batched else tf.squeeze(out, 0)

    def unpool(self, tf: Any, x: Any, source: Any) -> Any:
        """The layer on a padded batch of images."""
        return spread(tf, x, source, self.pooling.kernel)


class SpatialMaxUnpooling(MaxUnpooling):
    """From N×C×h×w back to N×C×H×W."""


class VolumetricMaxUnpooling(MaxUnpooling):
    """From N×C×t×h×w back to N×C×T×H×W."""

    spatial_rank = 3

    def unpool(self, tf: Any, x: Any, source: Any) -> Any:
        # Torch takes the first maximum in the order of T, H, W: that of the first frame which has
        # it. So frames are unpooled first, each as a whole, then every frame by itself.
        frames, *inner = self.pooling.kernel
        time, height, width, planes = (size(tf, source, axis) for axis in range(1, 5))
        images = tf.reshape(source, [-1, height, width, planes])
        pooled = tf.nn.max_pool2d(images, inner, inner, "VALID")
        high, wide = size(tf, pooled, 1), size(tf, pooled, 2)
        positions = tf.multiply(high, wide)
        spread_out = spread(
            tf,
            tf.reshape(x, [-1, size(tf, x, 1), positions, planes]),
            tf.reshape(pooled, [-1, time, positions, planes]),
            [frames, 1],
        )
        found = spread(tf, tf.reshape(spread_out, [-1, high, wide, planes]), images, inner)
        return tf.reshape(found, tf.shape(source))
