"""Convolutions over sequences.

Source: torch/nn TemporalConvolution.lua, TemporalRowConvolution.lua, TemporalSubSampling.lua; THNN
TemporalConvolution.c, TemporalRowConvolution.c, TemporalSubSampling.c; cudnn.torch
TemporalConvolution.lua.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.layer_maps.correlation import check_sizes, correlate, shaped
from porter.maps import (
    Array,
    HasKerasLayer,
    HintsInput,
    LayerMap,
    Layouts,
    OpContext,
    Shape,
    TensorType,
    Types,
    channels_last,
    flag,
    integer,
    optional_param,
    param,
    register,
    torch_order,
)


class FrameConvolution(LayerMap, HasKerasLayer, HintsInput):
    """y[t, o] = b[o] + Σ w[o, k, f] · x[stride·t + k, f], over N×T×F or T×F.

    `weight` is outputFrameSize × (kW · inputFrameSize), frame by frame.
    """

    weight = param("OKF", to="KFO")
    bias = optional_param("O")
    features = integer("inputFrameSize")
    kernel = integer("kW")
    stride = integer("dW", 1)
    pad: int = 0

    def checked(self) -> LayerMap:
        check_sizes(self.typename, 1, kernel=(self.kernel,), stride=(self.stride,))
        check_sizes(self.typename, 0, padding=(self.pad,))
        full = (self.weight.shape[0], self.kernel, self.features)
        return self.evolve(weight=shaped(self.weight, full, self.typename))

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) in (2, 3), "takes N×T×F or T×F", x)
        *batch, frames, features = x
        self.require(features == self.features, f"takes {self.features} features", x)
        steps = (frames + 2 * self.pad - self.kernel) // self.stride + 1
        self.require(steps > 0, f"takes at least {self.kernel} frames", x)
        return (*batch, steps, self.weight.shape[0])

    def reference(self, x: Array) -> Array:
        batched = x if x.ndim == 3 else x[None]
        out = correlate(
            np.swapaxes(batched, 1, 2),
            np.swapaxes(self.weight.array, 1, 2),
            (self.stride,),
            ((self.pad, self.pad),),
            (1,),
        )
        out = np.swapaxes(out, 1, 2)
        if self.bias is not None:
            out = out + self.bias.array
        return out if x.ndim == 3 else out[0]

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        batched = len(at.inputs[0].shape) == 3
        x = x if batched else tf.expand_dims(x, 0)
        if self.pad:
            x = tf.pad(x, [[0, 0], [self.pad, self.pad], [0, 0]])
        out = tf.nn.conv1d(x, at.variable(self.weight), stride=self.stride, padding="VALID")
        if self.bias is not None:
            out = tf.nn.bias_add(out, at.variable(self.bias))
        return out if batched else tf.squeeze(out, 0)

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        if at.inputs[0].rank != 3:
            return None
        return k(
            "Conv1D",
            k.padded(x, [[self.pad, self.pad]]),
            weights=[at.variable(self.weight), self.bias and at.variable(self.bias)],
            filters=self.weight.shape[0],
            kernel_size=self.kernel,
            strides=self.stride,
            use_bias=self.bias is not None,
            data_format="channels_last",
        )

    def input_hint(self) -> TensorType:
        return TensorType((None, None, self.features))


@register("nn.TemporalConvolution")
class TemporalConvolution(FrameConvolution):
    """Convolution over time without padding."""


@register("cudnn.TemporalConvolution")
class CudnnTemporalConvolution(FrameConvolution):
    """The same, with zero padding; its fields are those of an image T high and F wide."""

    kernel = integer("kH")
    stride = integer("dH", 1)
    pad = integer("padH", 0)


@register("nn.TemporalRowConvolution")
class TemporalRowConvolution(LayerMap, HintsInput):
    """y[t, f] = b[f] + Σ w[f, k] · x[stride·t + k, f]: one filter for each feature.

    Takes N×T×F or T×F; with `featFirst` N×F×T or F×T. `weight` is F × 1 × kW. With a stride other
    than 1 Torch's module is correct only on its first call, which the map follows.
    """

    weight = param("FMK", to="KFM")
    bias = optional_param("F")
    kernel = integer("kW")
    stride = integer("dW", 1)
    features_first = flag("featFirst")

    def checked(self) -> LayerMap:
        check_sizes(self.typename, 1, kernel=(self.kernel,), stride=(self.stride,))
        full = (self.weight.shape[0], 1, self.kernel)
        return self.evolve(weight=shaped(self.weight, full, self.typename))

    def output_shape(self, x: Shape) -> Shape:
        shapes = "N×F×T or F×T" if self.features_first else "N×T×F or T×F"
        self.require(len(x) in (2, 3), f"takes {shapes}", x)
        features, frames = x[-2:] if self.features_first else (x[-1], x[-2])
        expected = self.weight.shape[0]
        self.require(features == expected, f"takes {expected} features", x)
        steps = (frames - self.kernel) // self.stride + 1
        self.require(steps > 0, f"takes at least {self.kernel} frames", x)
        return (*x[:-2], *((features, steps) if self.features_first else (steps, features)))

    def reference(self, x: Array) -> Array:
        rows = x if self.features_first else np.swapaxes(x, -1, -2)
        windows = np.lib.stride_tricks.sliding_window_view(rows, self.kernel, axis=-1)
        out = np.einsum(
            "...ftk,fk->...ft", windows[..., :: self.stride, :], self.weight.array[:, 0]
        )
        if self.bias is not None:
            out = out + self.bias.array[:, None]
        return out if self.features_first else np.swapaxes(out, -1, -2)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        batched = len(at.inputs[0].shape) == 3
        x = x if batched else tf.expand_dims(x, 0)
        # An image of height 1; its stride is square because TensorFlow knows no other here.
        out = tf.nn.depthwise_conv2d(
            tf.expand_dims(x, 1),
            tf.expand_dims(at.variable(self.weight), 0),
            strides=[1, self.stride, self.stride, 1],
            padding="VALID",
        )
        out = tf.squeeze(out, 1)
        if self.bias is not None:
            out = tf.nn.bias_add(out, at.variable(self.bias))
        return out if batched else tf.squeeze(out, 0)

    def layouts(self, available: Layouts, inputs: Types, outputs: Types) -> tuple[Layouts, Layouts]:
        rank = inputs[0].rank
        order = channels_last(rank, 1) if self.features_first else torch_order(rank)
        return (order,), (order,)

    def input_hint(self) -> TensorType:
        expected = self.weight.shape[0]
        return TensorType((None, expected, None) if self.features_first else (None, None, expected))


@register("nn.TemporalSubSampling")
class TemporalSubSampling(LayerMap, HintsInput):
    """y[t, f] = w[f] · (sum of kW frames of x[·, f]) + b[f], over T×F."""

    weight = param("F")
    bias = param("F")
    kernel = integer("kW")
    stride = integer("dW", 1)

    def checked(self) -> LayerMap:
        check_sizes(self.typename, 1, kernel=(self.kernel,), stride=(self.stride,))
        return self

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) == 2, "takes T×F", x)
        frames, features = x
        expected = self.weight.shape[0]
        self.require(features == expected, f"takes {expected} features", x)
        steps = (frames - self.kernel) // self.stride + 1
        self.require(steps > 0, f"takes at least {self.kernel} frames", x)
        return (steps, features)

    def reference(self, x: Array) -> Array:
        windows = np.lib.stride_tricks.sliding_window_view(x, self.kernel, axis=0)
        sums: Array = windows[:: self.stride].sum(axis=-1)
        return sums * self.weight.array + self.bias.array

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        means = tf.nn.avg_pool1d(
            tf.expand_dims(x, 0), ksize=self.kernel, strides=self.stride, padding="VALID"
        )
        scale = tf.multiply(at.variable(self.weight), float(self.kernel))
        out = tf.nn.bias_add(tf.multiply(means, scale), at.variable(self.bias))
        return tf.squeeze(out, 0)

    def input_hint(self) -> TensorType:
        return TensorType((None, self.weight.shape[0]))
