"""Convolutions over images.

Source: torch/nn SpatialConvolution.lua, SpatialConvolutionMM.lua, SpatialDilatedConvolution.lua;
THNN SpatialConvolutionMM.c, SpatialDilatedConvolution.c; cudnn.torch SpatialConvolution.lua,
SpatialDilatedConvolution.lua; waifu2x
RandomBinaryConvolution.lua, EdgeFilter.lua.
"""

from __future__ import annotations

import abc
import math
from typing import Any, ClassVar

import numpy as np

from porter.layer_maps.correlation import MAX_ELEMENTS, check_sizes, correlate, every, shaped
from porter.layer_maps.windows import SlidesOverImages
from porter.maps import (
    Accepts,
    Array,
    BadField,
    Field,
    HasKerasLayer,
    HintsInput,
    LayerMap,
    LinearInPlanes,
    OpContext,
    Options,
    Param,
    Shape,
    TensorType,
    TorchObject,
    integer,
    integers,
    optional_integer,
    optional_param,
    param,
    register,
)


class Correlation(LayerMap, HintsInput):
    """y[o] = b[o] + Σ w[o, i, k] · x[i, stride·p + dilation·k − pad], a cross-correlation.

    `weight` is nOutputPlane × nInputPlane/groups × kernel. Output planes of one group see the input
    planes of that group only.
    """

    weight: Field[Param]
    bias = optional_param("O")
    planes = integer("nInputPlane", cut=True)
    outputs = optional_integer("nOutputPlane", cut=True)
    kernel: Field[tuple[int, ...]]
    stride: Field[tuple[int, ...]]
    pad: Field[tuple[int, ...]]
    dilation: tuple[int, ...] | Field[tuple[int, ...]] = (1, 1)
    groups = integer("groups", 1)
    accepts = Accepts.CHANNELS_LAST
    takes: ClassVar[str] = "N×C×H×W or C×H×W"
    apart: ClassVar[bool] = False
    """Whether TensorFlow's convolution knows no groups on CPU."""

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        if "padding" not in module or (self.typename.startswith("cudnn") and "padW" in module):
            return self
        pad = (module.integer("padding"),) * self.spatial_rank
        return self.evolve(pad=pad).with_notes("padding from the old field `padding`")

    def checked(self) -> LayerMap:
        check_sizes(self.typename, 1, kernel=self.kernel, stride=self.stride)
        check_sizes(self.typename, 1, dilation=self.dilation, groups=(self.groups,))
        check_sizes(self.typename, 0, padding=self.pad)
        return self.evolve(weight=self.full_weight())

    def full_weight(self) -> Param:
        """The weight in its full shape; raises where it contradicts the module's sizes."""
        outputs = self.weight.shape[0] if self.outputs is None else self.outputs
        if self.planes % self.groups or outputs % self.groups:
            raise BadField(
                f"{self.typename} has {self.planes} input and {outputs} output planes, which "
                f"{self.groups} groups should divide"
            )
        full = (outputs, self.planes // self.groups, *self.kernel)
        return shaped(self.weight, full, self.typename)

    def output_planes(self) -> int:
        """The number of output planes."""
        return self.weight.shape[0]

    def filters(self) -> Array:
        """The weight as O × I/groups × kernel, for the reference."""
        return self.weight.array

    def tensor_filters(self, tf: Any, at: OpContext) -> Any:
        """The weight as kernel × I/groups × O, for TensorFlow."""
        return at.variable(self.weight)

    def pads(self) -> tuple[tuple[int, int], ...]:
        """Zeros before and after each spatial axis."""
        return tuple((pad, pad) for pad in self.pad)

    def output_shape(self, x: Shape) -> Shape:
        rank = self.spatial_rank
        self.require(len(x) in (rank + 1, rank + 2), f"takes {self.takes}", x)
        *batch, planes = x[:-rank]
        self.require(planes == self.planes, f"takes {self.planes} input planes", x)
        room = [size + sum(pads) for size, pads in zip(x[-rank:], self.pads(), strict=True)]
        span = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        extents = tuple((r - s) // d + 1 for r, s, d in zip(room, span, self.stride, strict=True))
        self.require(min(extents) > 0, f"has a kernel of {self.kernel}, larger than its input", x)
        self.require(math.prod(extents) < MAX_ELEMENTS, f"makes planes of {extents}: too large", x)
        return (*batch, self.output_planes(), *extents)

    def reference(self, x: Array) -> Array:
        batched = x if x.ndim == self.spatial_rank + 2 else x[None]
        geometry = (self.stride, self.pads(), self.dilation)
        inputs = np.split(batched, self.groups, axis=1)
        filters = np.split(self.filters().astype(x.dtype), self.groups, axis=0)
        out = np.concatenate(
            [correlate(i, f, *geometry) for i, f in zip(inputs, filters, strict=True)], axis=1
        )
        if self.bias is not None:
            out += self.bias.array.reshape(-1, *[1] * self.spatial_rank)
        return out if x.ndim == batched.ndim else out[0]

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        batched = len(at.inputs[0].shape) == self.spatial_rank + 2
        out = self.convolve(tf, x if batched else tf.expand_dims(x, 0), at)
        if self.bias is not None:
            out = tf.nn.bias_add(out, at.variable(self.bias))
        return out if batched else tf.squeeze(out, 0)

    def convolve(self, tf: Any, x: Any, at: OpContext, filters: Any = None) -> Any:
        """The convolution without bias, channels last, optionally with other `filters`.

        TensorFlow on CPU lacks gradients of dilated convolutions, and in three dimensions and
        float64 the convolutions too. Each of the dilation's interleaved images is therefore
        convolved by itself, as one sample of a larger batch.
        """
        filters = self.tensor_filters(tf, at) if filters is None else filters
        first = self.first_stride()
        apart = self.groups > 1 and (at.training or self.apart)
        correlation = self.group_by_group if apart else self.correlation
        if max(self.dilation) == 1:
            out = correlation(tf, x, filters, first, self.pads())
        else:
            padded = tf.pad(x, [[0, 0], *map(list, self.pads()), [0, 0]])
            room = tf.slice(tf.shape(padded), [1], [self.spatial_rank])
            missing = tf.math.floormod(tf.negative(room), list(self.dilation))
            filled = tf.stack([tf.zeros_like(missing), missing], axis=1)
            images = tf.space_to_batch(padded, list(self.dilation), filled)
            out = correlation(tf, images, filters, first, ((0, 0),) * self.spatial_rank)
            out = tf.batch_to_space(out, list(self.dilation), filled)
        if first == self.stride:
            return out
        return every(tf, out, tuple(s // f for s, f in zip(self.stride, first, strict=True)))

    def group_by_group(self, tf: Any, x: Any, filters: Any, *geometry: Any) -> Any:
        """`correlation` of each group of planes: on CPU, groups have no gradient in TensorFlow."""
        axis = self.spatial_rank + 1
        groups = zip(
            tf.split(x, self.groups, axis=axis),
            tf.split(filters, self.groups, axis=axis),
            strict=True,
        )
        return tf.concat([self.correlation(tf, i, k, *geometry) for i, k in groups], axis=axis)

    @abc.abstractmethod
    def correlation(
        self,
        tf: Any,
        x: Any,
        filters: Any,
        stride: tuple[int, ...],
        pads: tuple[tuple[int, int], ...],
    ) -> Any:
        """TensorFlow's convolution of this rank."""

    def first_stride(self) -> tuple[int, ...]:
        """The stride of TensorFlow's convolution; `convolve` applies the rest by slicing.

        oneDNN, as of TensorFlow 2.21, computes wrong numbers for several samples of one plane with
        strides 1 and s > 1 along H and W where the output is one pixel wide.
        """
        if max(self.dilation) > 1:
            return (1,) * self.spatial_rank
        if self.planes == self.groups and self.stride[-2] == 1 < self.stride[-1]:
            return (*self.stride[:-1], 1)
        return self.stride

    def input_hint(self) -> TensorType:
        return TensorType((None, self.planes, *[None] * self.spatial_rank))


class WeightedCorrelation(Correlation, HasKerasLayer, LinearInPlanes):
    """A convolution whose filters are its weight."""

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        unbatched = at.inputs[0].rank != self.spatial_rank + 2
        if unbatched or self.first_stride() != self.stride:
            return None
        return k(
            f"Conv{self.spatial_rank}D",
            k.padded(x, self.pads()),
            weights=[at.variable(self.weight), self.bias and at.variable(self.bias)],
            filters=self.output_planes(),
            kernel_size=self.kernel,
            strides=self.stride,
            dilation_rate=self.dilation,
            groups=self.groups,
            use_bias=self.bias is not None,
            data_format="channels_last",
        )

    def plane_axis(self, output: TensorType) -> int | None:
        return output.rank - self.spatial_rank - 1


class SpatialCorrelation(Correlation):
    """Over N×C×H×W or C×H×W."""

    weight = param("OIHW", to="HWIO")
    kernel = integers("kH", "kW", cut=True)
    stride = integers("dH", "dW", default=1, cut=True)
    pad = integers("padH", "padW", default=0, cut=True)
    reads_before_writing = True  # THNN SpatialConvolutionMM.c unfolds each sample first

    def correlation(
        self,
        tf: Any,
        x: Any,
        filters: Any,
        stride: tuple[int, ...],
        pads: tuple[tuple[int, int], ...],
    ) -> Any:
        padding = self.named(pads, stride) or [[0, 0], *map(list, pads), [0, 0]]
        return tf.nn.conv2d(x, filters, strides=[1, *stride, 1], padding=padding)

    def named(self, pads: tuple[tuple[int, int], ...], stride: tuple[int, ...]) -> str | None:
        """TensorFlow's name of the padding, if it has one.

        On CPU the gradients of a convolution with any other padding are several times slower.
        """
        if not any(map(any, pads)):
            return "VALID"
        keeps_size = all(
            step == 1 and kernel % 2 == 1 and pad == (kernel // 2, kernel // 2)
            for step, kernel, pad in zip(stride, self.kernel, pads, strict=True)
        )
        return "SAME" if keeps_size else None


@register(
    "nn.SpatialConvolution",
    "nn.SpatialConvolutionMM",
    "cudnn.SpatialConvolution",
    "w2nn.RandomBinaryConvolution",
    "w2nn.EdgeFilter",
)
class SpatialConvolution(SpatialCorrelation, WeightedCorrelation, SlidesOverImages):
    """Cross-correlation over N×C×H×W or C×H×W with zero padding.

    Old files have a 2-D weight, and one `padding` in place of `padW` and `padH`. Only cudnn has
    groups. The filters of RandomBinaryConvolution and EdgeFilter are saved like any others.
    """


@register("nn.SpatialDilatedConvolution", "cudnn.SpatialDilatedConvolution")
class SpatialDilatedConvolution(SpatialCorrelation, WeightedCorrelation, SlidesOverImages):
    """The same with `dilation` − 1 unused pixels between the taps of the kernel."""

    dilation = integers("dilationH", "dilationW", default=1, cut=True)
    reads_before_writing = False  # the bias is written first
