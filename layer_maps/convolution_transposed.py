"""Full convolutions: transposed convolutions, "deconvolutions".

Source: torch/nn SpatialFullConvolution.lua, VolumetricFullConvolution.lua; THNN
SpatialFullConvolution.c, VolumetricFullConvolution.c; cudnn.torch SpatialFullConvolution.lua,
VolumetricFullConvolution.lua.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from porter.layer_maps.correlation import MAX_ELEMENTS, check_sizes, shaped
from porter.maps import (
    Accepts,
    Array,
    BadField,
    Field,
    HasKerasLayer,
    HasReach,
    HintsInput,
    LayerMap,
    LinearInPlanes,
    OpContext,
    Options,
    Param,
    Reach,
    Shape,
    TensorType,
    TorchObject,
    integer,
    integers,
    optional_integer,
    optional_param,
    param,
    register,
    size,
)


class FullConvolution(LayerMap, HintsInput):
    """y[o, stride·p + k − pad] += w[i, o, k] · x[i, p], plus a bias.

    Every axis grows to (size − 1)·stride − 2·pad + kernel + adj. A table {x, target} gives the
    output the size of `target`, as far as an `adj` smaller than the stride can; only the target's
    size is used. `weight` is nInputPlane × nOutputPlane × kernel.
    """

    weight: Field[Param]
    bias = optional_param("O")
    planes = integer("nInputPlane", cut=True)
    outputs = optional_integer("nOutputPlane", cut=True)
    kernel: Field[tuple[int, ...]]
    stride: Field[tuple[int, ...]]
    pad: tuple[int, ...] | Field[tuple[int, ...]]
    adj: tuple[int, ...] | Field[tuple[int, ...]]
    accepts = Accepts.CHANNELS_LAST
    takes: ClassVar[str] = "N×C×H×W or C×H×W"

    def checked(self) -> LayerMap:
        check_sizes(self.typename, 1, kernel=self.kernel, stride=self.stride)
        check_sizes(self.typename, 0, padding=self.pad, adjustment=self.adj)
        if any(adj >= stride for adj, stride in zip(self.adj, self.stride, strict=True)):
            raise BadField(
                f"{self.typename} should have an adjustment smaller than its stride",
                received=f"adjustment {self.adj}, stride {self.stride}",
            )
        return self.evolve(weight=self.full_weight())

    def full_weight(self) -> Param:
        """The weight in its full shape; raises where it contradicts the module's sizes."""
        outputs = self.outputs or math.prod(self.weight.shape[1:]) // math.prod(self.kernel)
        return shaped(self.weight, (self.planes, outputs, *self.kernel), self.typename)

    def output_planes(self) -> int:
        """The number of output planes."""
        return self.weight.shape[1]

    def filters(self) -> Array:
        """The weight as I × O × kernel, for the reference."""
        return self.weight.array

    def tensor_filters(self, tf: Any, at: OpContext) -> Any:
        """The weight as kernel × O × I, for TensorFlow."""
        return at.variable(self.weight)

    def adjustment(self, target: Shape | None) -> Shape:
        """`adj`, or the value that brings the output closest to the size of `target`."""
        if target is None:
            return tuple(self.adj)
        sizes = target[-self.spatial_rank :]
        return tuple(
            (size + 2 * pad - kernel) % stride
            for size, pad, kernel, stride in zip(
                sizes, self.pad, self.kernel, self.stride, strict=True
            )
        )

    def output_shape(self, x: Shape, target: Shape | None = None) -> Shape:
        rank = self.spatial_rank
        self.require(len(x) in (rank + 1, rank + 2), f"takes {self.takes}", x)
        self.require(x[-rank - 1] == self.planes, f"takes {self.planes} input planes", x)
        if target is not None:
            self.require(len(target) >= rank, f"takes a target of {rank} dimensions", target)
        extents = tuple(
            (size - 1) * stride - 2 * pad + kernel + adj
            for size, stride, pad, kernel, adj in zip(
                x[-rank:], self.stride, self.pad, self.kernel, self.adjustment(target), strict=True
            )
        )
        self.require(min(extents) > 0, f"pads by {self.pad} and leaves nothing", x)
        self.require(math.prod(extents) < MAX_ELEMENTS, f"makes planes of {extents}: too large", x)
        return (*x[: -rank - 1], self.output_planes(), *extents)

    def reference(self, x: Array, target: Array | None = None) -> Array:
        shape = self.output_shape(x.shape, None if target is None else target.shape)
        batched = x if x.ndim == self.spatial_rank + 2 else x[None]
        extents, filters = shape[-self.spatial_rank :], self.filters().astype(x.dtype)
        whole = [size + 2 * pad for size, pad in zip(extents, self.pad, strict=True)]
        planes, samples, space = filters.shape[1], batched.shape[0], batched.shape[2:]
        out = np.zeros((planes, samples, *whole), x.dtype)
        by_tap = np.ascontiguousarray(np.moveaxis(filters, (1, 0), (-2, -1)))
        columns = np.ascontiguousarray(np.moveaxis(batched, 1, 0).reshape(self.planes, -1))
        for taps in np.ndindex(*self.kernel):
            # What one tap of the kernel adds lies `stride` apart.
            places = tuple(
                slice(tap, tap + (size - 1) * stride + 1, stride)
                for tap, size, stride in zip(taps, space, self.stride, strict=True)
            )
            added = by_tap[taps] @ columns
            out[(slice(None), slice(None), *places)] += added.reshape(planes, samples, *space)
        inside = tuple(slice(pad, pad + size) for pad, size in zip(self.pad, extents, strict=True))
        out = np.moveaxis(out[(slice(None), slice(None), *inside)], 0, 1)
        if self.bias is not None:
            out = out + self.bias.array.reshape(-1, *[1] * self.spatial_rank)
        return out if x.ndim == batched.ndim else out[0]

    def apply(self, tf: Any, x: Any, target: Any = None, *, at: OpContext) -> Any:
        batched = len(at.inputs[0].shape) == self.spatial_rank + 2
        x = x if batched else tf.expand_dims(x, 0)
        out = self.convolve(tf, x, at) if target is None else self.fit(tf, x, target, at)
        if self.bias is not None:
            out = tf.nn.bias_add(out, at.variable(self.bias))
        return out if batched else tf.squeeze(out, 0)

    def convolve(self, tf: Any, x: Any, at: OpContext) -> Any:
        """With the module's own `adj`.

        Explicit padding is slow on CPU. "SAME" crops evenly, so it is equivalent where adj is 0 and
        the kernel less its padding is no larger than the stride; otherwise the whole output is
        computed ("VALID") and cropped.
        """
        inner_kernel = [k - 2 * p for k, p in zip(self.kernel, self.pad, strict=True)]
        fits = all(1 <= k <= s for k, s in zip(inner_kernel, self.stride, strict=True))
        if fits and not any(self.adj):
            return self.transpose_convolution(tf, x, inner_kernel, "SAME", at)
        pairs = list(zip(self.pad, self.adj, strict=True))
        beyond = [max(adj - pad, 0) for pad, adj in pairs]
        whole = [k + more for k, more in zip(self.kernel, beyond, strict=True)]
        out = self.transpose_convolution(tf, x, whole, "VALID", at)
        if not any(self.pad):
            return out
        # tf.slice: the gradient of a strided slice is slow on CPU.
        behind = [max(pad - adj, 0) for pad, adj in pairs]
        extents = [
            tf.subtract(size(tf, out, axis), pad + cut) if cut else -1
            for axis, (pad, cut) in enumerate(zip(self.pad, behind, strict=True), start=1)
        ]
        return tf.slice(out, [0, *self.pad, 0], tf.stack([-1, *extents, -1]))

    def fit(self, tf: Any, x: Any, target: Any, at: OpContext) -> Any:
        """With the `adj` that the size of `target` requires, which may vary from call to call."""
        rank = self.spatial_rank
        longest = [k + s - 1 for k, s in zip(self.kernel, self.stride, strict=True)]
        whole = self.transpose_convolution(tf, x, longest, "VALID", at)
        extents: list[Any] = []
        for i in range(rank):
            pad, kernel, stride = self.pad[i], self.kernel[i], self.stride[i]
            target_size = size(tf, target, at.axis(i - rank, of=1))
            adj = tf.math.floormod(tf.add(target_size, 2 * pad - kernel), stride)
            extents.append(tf.add(adj, grown(tf, size(tf, x, i + 1), stride, kernel - 2 * pad)))
        out = tf.slice(whole, [0, *self.pad, 0], tf.stack([-1, *extents, -1]))
        return tf.ensure_shape(out, [None] * (rank + 1) + [whole.shape[-1]])

    def transpose_convolution(
        self, tf: Any, x: Any, reach: list[int], padding: str, at: OpContext
    ) -> Any:
        """TensorFlow's transposed convolution to (size − 1)·stride + reach on each axis."""
        rank = self.spatial_rank
        extents = [grown(tf, size(tf, x, i + 1), self.stride[i], reach[i]) for i in range(rank)]
        operation = tf.nn.conv2d_transpose if rank == 2 else tf.nn.conv3d_transpose
        return operation(
            x,
            self.tensor_filters(tf, at),
            output_shape=tf.stack([size(tf, x, 0), *extents, self.output_planes()]),
            strides=[1, *self.stride, 1],
            padding=padding,
        )

    def input_hint(self) -> TensorType:
        return TensorType((None, self.planes, *[None] * self.spatial_rank))


def grown(tf: Any, extent: Any, stride: int, reach: int) -> Any:
    """(extent − 1)·stride + reach, for an int or a scalar tensor."""
    if isinstance(extent, int):
        return (extent - 1) * stride + reach
    return tf.add(tf.multiply(extent, stride), reach - stride)


class WeightedFullConvolution(FullConvolution, HasKerasLayer, LinearInPlanes):
    """A full convolution whose filters are its weight."""

    def keras(self, k: Any, x: Any, target: Any = None, *, at: OpContext) -> Any:
        sizes = zip(self.kernel, self.stride, self.pad, self.adj, strict=True)
        # Keras makes an output no smaller than the strides; what Torch leaves out is cropped.
        crops = [[pad, max(kernel, step) - kernel + pad - adj] for kernel, step, pad, adj in sizes]
        unbatched = at.inputs[0].rank != self.spatial_rank + 2
        if target is not None or unbatched or min(map(min, crops)) < 0:
            return None
        out = k(
            f"Conv{self.spatial_rank}DTranspose",
            x,
            weights=[at.variable(self.weight), self.bias and at.variable(self.bias)],
            filters=self.output_planes(),
            kernel_size=self.kernel,
            strides=self.stride,
            use_bias=self.bias is not None,
            data_format="channels_last",
        )
        return k.cropped(out, crops)

    def plane_axis(self, output: TensorType) -> int | None:
        return output.rank - self.spatial_rank - 1


@register("nn.SpatialFullConvolution", "cudnn.SpatialFullConvolution")
class SpatialFullConvolution(WeightedFullConvolution, HasReach):
    """Over N×C×H×W or C×H×W. Old files have no `adj`; cudnn's `groups` is always 1."""

    reads_before_writing = True  # THNN SpatialFullConvolution.c multiplies each sample first
    weight = param("IOHW", to="HWOI")
    kernel = integers("kH", "kW", cut=True)
    stride = integers("dH", "dW", default=1, cut=True)
    pad = integers("padH", "padW", default=0, cut=True)
    adj = integers("adjH", "adjW", default=0, cut=True)

    def reach(self, axis: int, inputs: Sequence[TensorType]) -> Reach | None:
        if len(inputs) > 1:  # the target's size decides
            return None
        kernel, stride, pad = (sizes[axis - 2] for sizes in (self.kernel, self.stride, self.pad))
        return Reach.transposed(kernel, stride, pad)


@register("nn.VolumetricFullConvolution", "cudnn.VolumetricFullConvolution")
class VolumetricFullConvolution(WeightedFullConvolution):
    """Over N×C×T×H×W or C×T×H×W.

    Files from before `adj` have the weight as nOutputPlane × nInputPlane × kernel, and the padding
    as pT, pW and pH.
    """

    reads_before_writing = True
    weight = param("IOTHW", to="THWOI")
    kernel = integers("kT", "kH", "kW", cut=True)
    stride = integers("dT", "dH", "dW", default=1, cut=True)
    pad = integers("padT", "padH", "padW", default=0, cut=True)
    adj = integers("adjT", "adjH", "adjW", default=0, cut=True)
    spatial_rank = 3
    takes = "N×C×T×H×W or C×T×H×W"

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        op = self
        if "padW" not in module and "pW" in module:
            op = op.evolve(pad=tuple(module.integer(name) for name in ("pT", "pH", "pW")))
        if "adjW" in module or not op.has("weight", "planes"):
            return op
        weight = op.weight
        # nOutputPlane may equal nInputPlane: then only the missing field tells.
        outputs = op.planes if op.outputs is None else op.outputs
        if weight.shape[:2] != (outputs, op.planes):
            return op
        turned = np.swapaxes(weight.array, 0, 1)
        op = op.evolve(weight=weight.with_array(turned, weight.axes, weight.to, "turned"))
        return op.with_notes("weight turned from nOutputPlane × nInputPlane, as old files have it")
