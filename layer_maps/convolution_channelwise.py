"""Convolutions that treat each input plane by itself.

Source: torch/nn SpatialDepthWiseConvolution.lua, SpatialSubSampling.lua; THNN
SpatialDepthWiseConvolution.c, SpatialSubSampling.c.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from porter.layer_maps.correlation import MAX_ELEMENTS, check_sizes, correlate, every, shaped
from porter.maps import (
    Accepts,
    Array,
    HintsInput,
    LayerMap,
    OpContext,
    Options,
    Shape,
    TensorType,
    TorchObject,
    integer,
    integers,
    optional_param,
    param,
    register,
    size,
)


@register("nn.SpatialDepthWiseConvolution")
class SpatialDepthWiseConvolution(LayerMap, HintsInput):
    """y[i·M + m] = b[m, i] + (w[m, i] correlated with x[i]); M output planes per input plane.

    `weight` is M × nInputPlane × kH × kW, in some files 2-D. THNN confuses the two sides of the
    image: it reads the memory of each H×W plane as W×H, and computes planes of that shape. On
    square images this has no effect. The map does the same.
    """

    weight = param("MIHW", to="HWIM")
    bias = optional_param("MI", to="IM")
    planes = integer("nInputPlane")
    kernel = integers("kH", "kW")
    stride = integers("dH", "dW", default=1)
    pad = integers("padH", "padW", default=0)
    accepts = Accepts.CHANNELS_LAST

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        if "padding" not in module:
            return self
        return self.evolve(pad=(module.integer("padding"),) * 2)

    def checked(self) -> LayerMap:
        check_sizes(self.typename, 1, kernel=self.kernel, stride=self.stride)
        check_sizes(self.typename, 0, padding=self.pad)
        full = (self.weight.shape[0], self.planes, *self.kernel)
        return self.evolve(weight=shaped(self.weight, full, self.typename))

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) in (3, 4), "takes N×C×H×W or C×H×W", x)
        *batch, planes, height, width = x
        self.require(planes == self.planes, f"takes {self.planes} input planes", x)
        outputs = tuple(
            (extent + 2 * pad - kernel) // stride + 1
            for extent, pad, kernel, stride in zip(
                (width, height), self.pad, self.kernel, self.stride, strict=True
            )
        )
        self.require(min(outputs) > 0, f"has a kernel of {self.kernel}, larger than its input", x)
        self.require(math.prod(outputs) < MAX_ELEMENTS, f"makes planes of {outputs}: too large", x)
        return (*batch, planes * self.weight.shape[0], *outputs)

    def notes_on(self, *inputs: TensorType) -> tuple[str, ...]:
        height, width = inputs[0].shape[-2:]
        swapped = "reads planes of H×W as W×H, as THNN does where an image is not square"
        return self.notes if height == width else (*self.notes, swapped)

    def reference(self, x: Array) -> Array:
        batch, (planes, height, width) = x.shape[:-3], x.shape[-3:]
        turned = x.reshape(-1, planes, width, height)
        pads = tuple((pad, pad) for pad in self.pad)
        outputs = [
            correlate(turned[:, [i]], self.weight.array[:, [i]], self.stride, pads, (1, 1))
            for i in range(planes)
        ]
        if self.bias is not None:
            outputs = [y + self.bias.array[:, i, None, None] for i, y in enumerate(outputs)]
        out = np.concatenate(outputs, axis=1)
        return out.reshape(*batch, *out.shape[1:])

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        batched = len(at.inputs[0].shape) == 4
        x = x if batched else tf.expand_dims(x, 0)
        height, width = size(tf, x, 1), size(tf, x, 2)
        if not (isinstance(height, int) and height == width):
            # Channels last, this moves nothing: the pixels follow each other as in Torch's plane.
            x = tf.reshape(x, tf.stack([size(tf, x, 0), width, height, self.planes]))
        (top, left), (down, right) = self.pad, self.stride
        if top or left:
            # Not left to tf.nn.depthwise_conv2d: with explicit padding and unknown sizes,
            # TensorFlow 2.21 aborts the process while it optimises the graph.
            x = tf.pad(x, [[0, 0], [top, top], [left, left], [0, 0]])
        # tf.nn.depthwise_conv2d knows square strides only.
        even = down == right
        out = tf.nn.depthwise_conv2d(
            x,
            at.variable(self.weight),
            strides=[1, down, right, 1] if even else [1, 1, 1, 1],
            padding="VALID",
        )
        if not even:
            out = every(tf, out, self.stride)
        if self.bias is not None:
            out = tf.nn.bias_add(out, tf.reshape(at.variable(self.bias), [-1]))
        return out if batched else tf.squeeze(out, 0)

    def input_hint(self) -> TensorType:
        return TensorType((None, self.planes, None, None))


@register("nn.SpatialSubSampling")
class SpatialSubSampling(LayerMap, HintsInput):
    """y[c] = w[c] · (sum over each window of x[c]) + b[c], over N×C×H×W or C×H×W, unpadded.

    THNN reads w[c] as the c-th number of the weight's memory. Old files hold C×kH×kW of them, of
    which the first C are the weights.
    """

    weight = param("C")
    bias = param("C")
    kernel = integers("kH", "kW")
    stride = integers("dH", "dW", default=1)
    accepts = Accepts.CHANNELS_LAST

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        if not self.has("weight") or len(self.weight.shape) != 3:
            return self
        first = self.weight.array.reshape(-1)[: self.weight.shape[0]]
        weight = self.weight.with_array(first, tag="the first number of each plane")
        return self.evolve(weight=weight)

    def checked(self) -> LayerMap:
        check_sizes(self.typename, 1, kernel=self.kernel, stride=self.stride)
        return self

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) in (3, 4), "takes N×C×H×W or C×H×W", x)
        planes = self.weight.shape[0]
        self.require(x[-3] == planes, f"takes {planes} input planes", x)
        outputs = tuple(
            (extent - kernel) // stride + 1
            for extent, kernel, stride in zip(x[-2:], self.kernel, self.stride, strict=True)
        )
        self.require(min(outputs) > 0, f"has a kernel of {self.kernel}, larger than its input", x)
        return (*x[:-2], *outputs)

    def reference(self, x: Array) -> Array:
        down, right = self.stride
        windows = np.lib.stride_tricks.sliding_window_view(x, self.kernel, axis=(-2, -1))
        sums: Array = windows[..., ::down, ::right, :, :].sum(axis=(-2, -1))
        return sums * self.weight.array[:, None, None] + self.bias.array[:, None, None]

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        batched = len(at.inputs[0].shape) == 4
        means = tf.nn.avg_pool2d(
            x if batched else tf.expand_dims(x, 0),
            ksize=list(self.kernel),
            strides=list(self.stride),
            padding="VALID",
        )
        scale = tf.multiply(at.variable(self.weight), float(math.prod(self.kernel)))
        out = tf.nn.bias_add(tf.multiply(means, scale), at.variable(self.bias))
        return out if batched else tf.squeeze(out, 0)

    def input_hint(self) -> TensorType:
        return TensorType((None, self.weight.shape[0], None, None))
