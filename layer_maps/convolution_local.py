"""Convolutions with connection tables, and with other filters at every place.

Source: torch/nn SpatialConvolutionMap.lua, SpatialFullConvolutionMap.lua,
SpatialConvolutionLocal.lua; THNN SpatialConvolutionMap.c, SpatialFullConvolutionMap.c,
SpatialConvolutionLocal.c.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from porter.layer_maps.convolution import SpatialCorrelation
from porter.layer_maps.convolution_transposed import FullConvolution
from porter.layer_maps.correlation import check_sizes
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
    integer,
    integers,
    optional_param,
    param,
    register,
)


class ConnectionTable(LayerMap, LinearInPlanes):
    """Filters for some pairs of planes: `connTable` has the input and the output plane of each.

    Planes count from 1. A pair that is listed twice has the sum of its filters, one that is not
    listed has none.
    """

    weight = param("KHW")
    bias = optional_param("O")
    connections = param("KC", name="connTable", trainable=False)
    planes = integer("nInputPlane")
    output_count = integer("nOutputPlane")
    kernel = integers("kH", "kW")
    stride = integers("dH", "dW", default=1)

    def full_weight(self) -> Param:
        """The weight as it is saved; raises where the table contradicts the number of planes."""
        table = self.connections.array
        inside = table.ndim == 2 and table.shape[1] == 2 and np.all(table >= 1)
        if not inside or np.any(table > [self.planes, self.output_count]):
            raise BadField(
                f"'connTable' of {self.typename} should list pairs of planes up to "
                f"{self.planes} and {self.output_count}",
                received="×".join(map(str, table.shape)),
            )
        if self.weight.shape[1:] != tuple(self.kernel):
            raise BadField(
                f"'weight' of {self.typename} should have {len(table)} filters of {self.kernel}",
                received="×".join(map(str, self.weight.shape)),
            )
        return self.weight

    def output_planes(self) -> int:
        return self.output_count

    def pairs(self) -> Array:
        """Input and output plane of each filter, from 0."""
        return self.connections.array.astype(np.int64) - 1

    def plane_axis(self, output: TensorType) -> int | None:
        return output.rank - 3

    def within_connections(self, compute: Callable[[Array], Array], x: Array) -> Array:
        """`compute(x)`; where NaN may come, it arrives through the connections only.

        Planes that are not connected have filters of zero, and NaN times zero would be NaN.
        """
        if not self.nan:
            return compute(x)
        is_nan = np.isnan(x)
        spoilt = self.connected().reference(is_nan.astype(x.dtype))
        return np.where(np.asarray(spoilt) > 0, np.nan, compute(np.where(is_nan, 0, x)))

    def tensors_within_connections(
        self, tf: Any, compute: Callable[..., Any], x: Any, at: OpContext
    ) -> Any:
        """The same in TensorFlow."""
        if not self.nan:
            return compute(tf, x, at=at)
        is_nan = tf.math.is_nan(x)
        spoilt = self.connected().apply(tf, tf.cast(is_nan, x.dtype), at=at)
        clean = compute(tf, tf.where(is_nan, tf.zeros_like(x), x), at=at)
        return tf.where(tf.greater(spoilt, 0), tf.constant(np.nan, x.dtype), clean)

    def connected(self) -> LayerMap:
        """Filters of ones in the places of the others: they find where NaN of a plane arrives."""
        ones = self.weight.with_array(np.ones(self.weight.shape), tag="ones")
        return self.evolve(weight=ones, bias=None, nan=False)

    def full_filters(self) -> Array:
        """I × O × kH × kW, with zeros where there is no connection."""
        full = np.zeros((self.planes, self.output_count, *self.kernel))
        np.add.at(full, tuple(self.pairs().T), self.weight.array)
        return full

    def full_tensor_filters(self, tf: Any, at: OpContext) -> Any:
        """The same in TensorFlow."""
        pairs = self.connections.with_array(self.pairs(), tag="from 0")
        shape = [self.planes, self.output_count, *self.kernel]
        return tf.scatter_nd(at.variable(pairs), at.variable(self.weight), shape)


@register("nn.SpatialConvolutionMap")
class SpatialConvolutionMap(ConnectionTable, SpatialCorrelation):
    """Cross-correlation without padding, between the connected planes only."""

    reads_before_writing = False

    def reference(self, x: Array) -> Array:
        return self.within_connections(super().reference, x)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return self.tensors_within_connections(tf, super().apply, x, at)

    def filters(self) -> Array:
        return np.swapaxes(self.full_filters(), 0, 1)

    def tensor_filters(self, tf: Any, at: OpContext) -> Any:
        return tf.transpose(self.full_tensor_filters(tf, at), [2, 3, 0, 1])


@register("nn.SpatialFullConvolutionMap")
class SpatialFullConvolutionMap(ConnectionTable, FullConvolution):
    """Full convolution without padding, between the connected planes only."""

    pad = (0, 0)
    adj = (0, 0)

    def reference(self, x: Array, target: Array | None = None) -> Array:
        return self.within_connections(super().reference, x)

    def apply(self, tf: Any, x: Any, target: Any = None, *, at: OpContext) -> Any:
        return self.tensors_within_connections(tf, super().apply, x, at)

    def filters(self) -> Array:
        return self.full_filters()

    def tensor_filters(self, tf: Any, at: OpContext) -> Any:
        return tf.transpose(self.full_tensor_filters(tf, at), [2, 3, 1, 0])


@register("nn.SpatialConvolutionLocal")
class SpatialConvolutionLocal(LayerMap, HintsInput):
    """A convolution whose filters and bias are others at every place of the output.

    `weight` is oH × oW × O × I × kH × kW, `bias` O × oH × oW; the size of the input is fixed.
    """

    weight = param("YXOIHW", to="YXHWIO")
    bias = optional_param("OYX", to="YXO")
    planes = integer("nInputPlane")
    output_count = integer("nOutputPlane")
    image = integers("iH", "iW")
    kernel = integers("kH", "kW")
    stride = integers("dH", "dW", default=1)
    pad = integers("padH", "padW", default=0)
    accepts = Accepts.CHANNELS_LAST

    def checked(self) -> LayerMap:
        check_sizes(self.typename, 1, kernel=self.kernel, stride=self.stride, image=self.image)
        check_sizes(self.typename, 0, padding=self.pad)
        full = (*self.places(), self.output_count, self.planes, *self.kernel)
        flat = (math.prod(full[:2]), self.output_count, math.prod(full[3:]))
        weight = self.weight
        if weight.shape not in (full, flat):
            raise BadField(
                f"'weight' of {self.typename} should have the shape {'×'.join(map(str, full))}",
                received="×".join(map(str, weight.shape)),
            )
        if weight.shape == full:
            return self
        reshaped = weight.with_array(weight.array.reshape(full), weight.axes, weight.to)
        return self.evolve(weight=reshaped)

    def places(self) -> tuple[int, ...]:
        """Height and width of the output."""
        return tuple(
            (extent + 2 * pad - kernel) // stride + 1
            for extent, pad, kernel, stride in zip(
                self.image, self.pad, self.kernel, self.stride, strict=True
            )
        )

    def output_shape(self, x: Shape) -> Shape:
        sample = (self.planes, *self.image)
        self.require(
            len(x) in (3, 4) and x[-3:] == sample, f"takes {'×'.join(map(str, sample))}", x
        )
        return (*x[:-3], self.output_count, *self.places())

    def reference(self, x: Array) -> Array:
        (top, left), (down, right) = self.pad, self.stride
        padded = np.pad(x, (*[(0, 0)] * (x.ndim - 2), (top, top), (left, left)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.kernel, axis=(-2, -1))
        windows = windows[..., ::down, ::right, :, :]
        out: Array = np.einsum("...iyxhw,yxoihw->...oyx", windows, self.weight.array)
        return out if self.bias is None else out + self.bias.array

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        batched = len(at.inputs[0].shape) == 4
        x = x if batched else tf.expand_dims(x, 0)
        (top, left), (down, right) = self.pad, self.stride
        windows = tf.image.extract_patches(
            tf.pad(x, [[0, 0], [top, top], [left, left], [0, 0]]),
            sizes=[1, *self.kernel, 1],
            strides=[1, down, right, 1],
            rates=[1, 1, 1, 1],
            padding="VALID",
        )
        # A window lists its pixels row by row, each with all its channels: H, W, I of the weight.
        window = math.prod(self.kernel) * self.planes
        filters = tf.reshape(at.variable(self.weight), [*self.places(), window, self.output_count])
        out = tf.einsum("nyxw,yxwo->nyxo", windows, filters)
        if self.bias is not None:
            out = tf.add(out, at.variable(self.bias))
        return out if batched else tf.squeeze(out, 0)

    def input_hint(self) -> TensorType:
        return TensorType((None, self.planes, *self.image))
