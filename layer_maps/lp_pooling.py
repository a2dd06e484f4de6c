"""Poolings by a p-norm, and the pyramid of poolings that precedes a classifier.

Source: torch/nn SpatialLPPooling.lua, FeatureLPPooling.lua; THNN FeatureLPPooling.c; imagine-nn
SpatialPyramidPooling.lua.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.layer_maps.containers import one_tensor, sequential, tensors
from porter.layer_maps.table import Join
from porter.layer_maps.windows import taps
from porter.maps import (
    Accepts,
    Array,
    LayerMap,
    Nested,
    OpContext,
    Shape,
    ShapeMismatch,
    TorchObject,
    Value,
    Walk,
    flag,
    integer,
    number,
    register,
    structure,
)


@structure("nn.SpatialLPPooling")
def spatial_lp_pooling(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """An nn.Sequential: power, average, times the size of the kernel, root."""
    return sequential(walk, module, x)


@structure("inn.SpatialPyramidPooling")
def spatial_pyramid_pooling(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """An nn.Concat of flattened adaptive poolings that joins features, batched or not."""
    image = one_tensor(module, x)
    if image.type.rank not in (3, 4):
        raise ShapeMismatch(f"{module.typename} takes N×C×H×W or C×H×W", received=str(image.type))
    # Old files hold the nn.Concat in a field of their own.
    inner = next((name for name in ("module", "_modules") if name in module), None)
    holder = module if inner is None else module.object(inner)
    levels = [
        walk(child, image, at=str(position))
        for position, child in enumerate(walk.children(holder), start=1)
    ]
    return walk.emit(Join(axis=image.type.rank - 3), *tensors(module, levels))


@register("nn.FeatureLPPooling")
class FeatureLPPooling(LayerMap):
    """(Σ xᵖ)^(1/p) over `width` neighbouring features, every `stride` features.

    Features are dimension 2 in batch mode, else dimension 1; up to two dimensions follow. An odd
    power of negative elements may have no root: NaN, as in Torch.
    """

    width = integer("width")
    stride = integer("stride")
    power = number("power")
    batched = flag("batch_mode")
    accepts = Accepts.ANY_ORDER

    @property
    def axis(self) -> int:
        """The axis of the features."""
        return int(self.batched)

    def output_shape(self, x: Shape) -> Shape:
        self.require(1 <= len(x) - self.axis <= 3, "takes features and at most two axes more", x)
        self.require(
            2 <= self.width <= 16 and 1 <= self.stride <= 4,
            "needs a width of 2 to 16 and a stride of 1 to 4",
            self.width,
            self.stride,
        )
        self.require(self.power != 0, "needs a power other than 0")
        self.require(x[self.axis] >= self.width, f"takes at least {self.width} features", x)
        count = (x[self.axis] - self.width) // self.stride + 1
        return (*x[: self.axis], count, *x[self.axis + 1 :])

    def reference(self, x: Array) -> Array:
        powers = np.moveaxis(x, self.axis, 0) ** self.power
        starts = range(0, len(powers) - self.width + 1, self.stride)
        sums = np.stack([powers[i : i + self.width].sum(axis=0) for i in starts])
        roots: Array = sums ** (1 / self.power)
        return np.moveaxis(roots, 0, self.axis)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        squared = self.power == 2
        powers = tf.square(x) if squared else tf.pow(x, self.power)
        total = tf.add_n(taps(tf, powers, at.axis(self.axis), self.width, self.stride))
        return tf.sqrt(total) if squared else tf.pow(total, 1 / self.power)
