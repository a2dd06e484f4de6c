"""Convolutions with a single tap: a fully connected layer at each pixel.

Source: jzbontar/mc-cnn SpatialConvolution1_fw.lua; nnx SpatialLinear.lua, generic/SpatialLinear.c.
"""

from __future__ import annotations

import abc
from typing import Any

import numpy as np

from porter.maps import (
    Accepts,
    Array,
    BadField,
    HintsInput,
    LayerMap,
    LinearInPlanes,
    OpContext,
    Param,
    Shape,
    TensorType,
    param,
    register,
)


class PixelByPixel(LayerMap, HintsInput, LinearInPlanes):
    """y = W·x + b at each pixel of an image; `weight` is O×I."""

    weight = param("OI", to="IO")
    accepts = Accepts.CHANNELS_LAST

    @abc.abstractmethod
    def offsets(self) -> Param:
        """b, a vector."""

    def output_shape(self, x: Shape) -> Shape:
        outputs, planes = self.weight.shape
        self.require(x[-3] == planes, f"takes {planes} feature planes", x)
        return (*x[:-3], outputs, *x[-2:])

    def reference(self, x: Array) -> Array:
        out: Array = np.einsum("oi,...ihw->...ohw", self.weight.array, x)
        return out + self.offsets().array[:, None, None]

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        products = tf.tensordot(x, at.variable(self.weight), 1)
        return tf.nn.bias_add(products, at.variable(self.offsets()))

    def plane_axis(self, output: TensorType) -> int | None:
        return output.rank - 3

    def input_hint(self) -> TensorType:
        return TensorType((None, self.weight.shape[1], None, None))


@register("nn.SpatialConvolution1_fw")
class SpatialConvolution1Forward(PixelByPixel):
    """A 1×1 convolution over N×C×H×W; `bias` is 1×O×1×1."""

    bias = param("AOHW")

    def checked(self) -> LayerMap:
        outputs = self.weight.shape[0]
        if self.bias.shape != (1, outputs, 1, 1):
            raise BadField(
                f"'bias' of {self.typename} should be 1×{outputs}×1×1",
                received="×".join(map(str, self.bias.shape)),
            )
        bias = self.bias.with_array(self.bias.array.reshape(outputs), "O")
        return self.evolve(bias=bias)

    def offsets(self) -> Param:
        return self.bias

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) == 4, "takes N×C×H×W", x)
        return super().output_shape(x)


@register("nn.SpatialLinear")
class SpatialLinear(PixelByPixel):
    """nnx's 1×1 convolution over one image C×H×W."""

    bias = param("O")

    def offsets(self) -> Param:
        return self.bias

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) == 3, "takes C×H×W", x)
        return super().output_shape(x)

    def input_hint(self) -> TensorType:
        return TensorType((self.weight.shape[1], None, None))
