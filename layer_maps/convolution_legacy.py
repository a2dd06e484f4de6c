"""Convolution classes outside torch/nn and cudnn.torch that published models hold.

Source: cunn SpatialConvolutionCUDA.lua and SpatialConvolutionCUDA.cu; cuda-convnet2.torch
SpatialConvolution.lua; fbcunn SpatialConvolutionFFT.lua, SpatialConvolutionCuFFT.lua,
SpatialConvolutionFBFFT.lua; eyescream SpatialConvolutionUpsample.lua; FluidNet
SpatialConvolutionUpsample.lua.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from porter.layer_maps.convolution import (
    SpatialConvolution,
    SpatialCorrelation,
    WeightedCorrelation,
)
from porter.layer_maps.correlation import check_sizes
from porter.maps import (
    Array,
    BadField,
    BadTable,
    LayerMap,
    Layout,
    Layouts,
    Nested,
    OpContext,
    Options,
    Param,
    Shape,
    TensorType,
    TorchObject,
    Types,
    Value,
    Walk,
    flag,
    integer,
    integers,
    param,
    register,
    size,
    structure,
)


@register("nn.SpatialConvolutionFFT", "nn.SpatialConvolutionCuFFT", "nn.SpatialConvolutionFBFFT")
class SpatialConvolutionFFT(SpatialCorrelation, WeightedCorrelation):
    """The same convolution by Fourier transforms, with a padding for each side."""

    reads_before_writing = False

    pad = integers("padUp", "padLeft", default=0)
    pad_after = integers("padDown", "padRight", default=0)

    def checked(self) -> LayerMap:
        check_sizes(self.typename, 0, padding=self.pad_after)
        return super().checked()

    def pads(self) -> tuple[tuple[int, int], ...]:
        return tuple(zip(self.pad, self.pad_after, strict=True))


class BatchLastCorrelation(SpatialCorrelation, WeightedCorrelation):
    """Cross-correlation over C×H×W×N; `weight` is I/groups × kH × kW × O, maybe written as 2-D."""

    reads_before_writing = False

    weight = param("IHWO", to="HWIO")
    padding = integer("padding", 0)
    order: ClassVar[Layout] = Layout((3, 1, 2, 0))

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        return self  # `padding` is no old spelling here

    def full_weight(self) -> Param:
        weight = self.weight
        outputs = weight.shape[-1] if self.outputs is None else self.outputs
        full = (self.planes // self.groups, *self.kernel, outputs)
        if weight.shape not in (full, (math.prod(full[:-1]), outputs)):
            raise BadField(
                f"'weight' of {self.typename} should have the shape {'×'.join(map(str, full))}",
                received="×".join(map(str, weight.shape)),
            )
        return weight.with_array(weight.array.reshape(full), weight.axes, weight.to)

    def output_planes(self) -> int:
        return self.weight.shape[-1]

    def filters(self) -> Array:
        return np.transpose(self.weight.array, (3, 0, 1, 2))

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) == 4, "takes C×H×W×N", x)
        *sample, batch = x
        shape = super().output_shape((batch, *sample))
        return (*shape[1:], batch)

    def reference(self, x: Array) -> Array:
        return np.moveaxis(super().reference(np.moveaxis(x, -1, 0)), 0, -1)

    def layouts(self, available: Layouts, inputs: Types, outputs: Types) -> tuple[Layouts, Layouts]:
        return (self.order,), (self.order,)

    def plane_axis(self, output: TensorType) -> int | None:
        return 0

    def input_hint(self) -> TensorType:
        return TensorType((self.planes, None, None, None))


@register("nn.SpatialConvolutionCUDA")
class SpatialConvolutionCUDA(BatchLastCorrelation):
    """Over C×H×W×N, without bias. `padding` counts the zeros of both sides together."""

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        return self.evolve(bias=None)

    def pads(self) -> tuple[tuple[int, int], ...]:
        return ((self.padding // 2, self.padding - self.padding // 2),) * 2


@register("ccn2.SpatialConvolution")
class CudaConvnetConvolution(BatchLastCorrelation):
    """Over C×H×W×N with square kernels, `padding` on each side; the last window may reach out."""

    kernel = integers("kH", "kH")
    stride = integers("dH", "dH", default=1)

    def pads(self) -> tuple[tuple[int, int], ...]:
        return tuple((self.padding, self.padding + stride - 1) for stride in self.stride)


class Enlarge(LayerMap):
    """N×(C·sH·sW)×H×W becomes N×C×(sH·H)×(sW·W).

    Interleaved, the sH·sW planes of C become blocks of sH×sW pixels; otherwise the memory is
    only viewed in another shape.
    """

    scale = integers("scaleH", "scaleW")
    interleaved = flag("interleaved")

    def output_shape(self, x: Shape) -> Shape:
        down, right = self.scale
        self.require(len(x) in (3, 4), "takes N×C×H×W or C×H×W", x)
        *batch, planes, height, width = x
        self.require(planes % (down * right) == 0, f"takes multiples of {down}×{right} planes", x)
        return (*batch, planes // (down * right), down * height, right * width)

    def reference(self, x: Array) -> Array:
        shape = self.output_shape(x.shape)
        if self.interleaved:
            blocks = x.reshape(*shape[:-2], *self.scale, *x.shape[-2:])
            x = np.moveaxis(blocks, (-4, -3), (-3, -1))
        return x.reshape(shape)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        (down, right), rank = self.scale, len(at.inputs[0].shape)
        height, width = size(tf, x, rank - 2), size(tf, x, rank - 1)
        planes = at.outputs[0].shape[-3]
        if self.interleaved:
            blocks = tf.reshape(x, tf.stack([-1, down, right, height, width]))
            x = tf.transpose(blocks, [0, 3, 1, 4, 2])
        lead = [-1, planes] if rank == 4 else [planes]
        sides = [tf.multiply(height, down), tf.multiply(width, right)]
        out = tf.reshape(x, tf.stack([*lead, *sides]))
        return tf.ensure_shape(out, [None, planes, None, None][4 - rank :])


@structure("nn.SpatialConvolutionUpsample", "cudnn.SpatialConvolutionUpsample")
def spatial_convolution_upsample(
    walk: Walk, module: TorchObject, x: Nested[Value]
) -> Nested[Value]:
    """A convolution to more planes, whose pixels become a larger image.

    Two classes share the name: eyescream's views the convolution's memory in the larger shape,
    FluidNet's holds a convolution in `modules` and interleaves.
    """
    if "modules" in module:
        scale = (module.integer("scaleH"), module.integer("scaleW"))
        enlarge = Enlarge(scale=scale, interleaved=True)
        planes = walk(walk.only_child(module), x, at="1")
    else:
        if not isinstance(x, Value):
            raise BadTable(f"{module.typename} should be given one tensor", received="a table")
        scale = (module.integer("factor", 2),) * 2
        enlarge = Enlarge(scale=scale)
        planes = walk.emit(SpatialConvolution.from_torch(module, walk.model.options), x)
    if scale == (1, 1):
        return planes
    if not isinstance(planes, Value):
        raise BadTable(f"{module.typename} should make one tensor", received="a table")
    check_sizes(module.typename, 1, scale=scale)
    return walk.emit(enlarge, planes)
