"""Kernels, strides, padding and biases of convolutions and fully connected layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.ir.layout import OpContext, torch_order
from porter.torch7 import TorchObject
from tests.build import conv, linear, randn, relu, sequential, torch_module, view
from tests.mutations.mutation import (
    Mutation,
    behind,
    in_tensorflow,
    original,
    swapped,
    to,
    values,
    with_methods,
)

CONVOLUTION = "nn.SpatialConvolution"
FULL = "nn.SpatialFullConvolution"


def convolution(typename: str = CONVOLUTION, planes: int = 4, **fields: Any) -> TorchObject:
    """From `planes` to 4, with a kernel of 3 × 3, all strides 1 and no padding by default."""
    sizes = {"nInputPlane": planes, "nOutputPlane": 4, "kH": 3, "kW": 3, "dH": 1, "dW": 1}
    all_fields = (
        sizes | {"weight": randn(4, planes, 3, 3, seed=5), "bias": randn(4, seed=6)} | fields
    )
    return torch_module(typename, **all_fields)


def full_convolution(**fields: Any) -> TorchObject:
    strides = {"dH": 2, "dW": 2, "padH": 1, "padW": 1, "adjH": 1, "adjW": 0}
    return convolution(FULL, **(strides | fields))


def cropped_at_the_other_side(self: Any, tf: Any, x: Any, at: OpContext) -> Any:
    """A full convolution whose `adj` is taken off in front instead of behind."""
    reach = [kernel + 1 for kernel in self.kernel]
    whole = self.transpose_convolution(tf, x, reach, "VALID", at)
    top, left = (pad - adj for pad, adj in zip(self.pad, self.adj, strict=True))
    height, width = at.outputs[0].shape[-2:]
    return whole[:, top : top + height, left : left + width]


def same_padding(self: Any, tf: Any, x: Any, filters: Any, stride: Any, pads: Any) -> Any:
    """TensorFlow's "SAME", which pads even images behind only, where the stride is 2."""
    return tf.nn.conv2d(x, filters, strides=[1, *stride, 1], padding="SAME")


def bias_twice(self: Any, tf: Any, x: Any, at: OpContext) -> Any:
    return tf.nn.bias_add(original(CONVOLUTION).apply(self, tf, x, at=at), at.variable(self.bias))


def rows_in_torch_order(self: Any, tf: Any, x: Any, at: OpContext) -> Any:
    """nn.Linear that takes channels-last features for Torch's."""

    class Blind:
        flat_rows = None
        inputs = at.inputs
        variable = staticmethod(at.variable)

    return original("nn.Linear").apply(self, tf, x, at=Blind())


def flat_but_unnamed(self: Any, available: Any, inputs: Any, outputs: Any) -> Any:
    """nn.View that flattens channels-last and says that it is Torch's order."""
    return available, (torch_order(outputs[0].rank),)


def classifier() -> TorchObject:
    """3×8×8 images, flattened behind a convolution."""
    return sequential(conv(3, 4, pad=1), relu(), view(256, sample_rank=3), linear(256, 5))


def square_linear() -> TorchObject:
    return sequential(linear(6, 6, seed=3))


def in_tf(name: str, net: Any, at: str = "2", cls: str = CONVOLUTION, **changes: Any) -> Mutation:
    return Mutation(name, cls, in_tensorflow(cls, **changes), net, at)


PLAIN = behind(convolution())
PADDED = behind(convolution(padH=1, padW=1))
HALVING = behind(convolution(dH=2, dW=2, padH=1, padW=1))
UNEVEN = behind(convolution(dH=2, dW=1, padH=1, padW=0))
GROUPED = behind(
    convolution("cudnn.SpatialConvolution", groups=2, weight=randn(4, 2, 3, 3, seed=5))
)
DILATED = behind(convolution("nn.SpatialDilatedConvolution", dilationH=1, dilationW=2))
OLD = behind(convolution(weight=randn(4, 36, seed=5)))
DEPTHWISE = behind(
    convolution(
        "nn.SpatialDepthWiseConvolution", weight=randn(2, 4, 3, 3), bias=randn(2, 4, seed=1)
    )
)
TEMPORAL_FIELDS = {"inputFrameSize": 5, "outputFrameSize": 5, "kW": 5, "dW": 1}


def temporal() -> TorchObject:
    """A kernel as long as its frames, so that both may be confused."""
    layer = torch_module(
        "nn.TemporalConvolution", weight=randn(5, 25), bias=randn(5, seed=1), **TEMPORAL_FIELDS
    )
    return sequential(layer)


MUTATIONS = [
    in_tf("kernel: H and W swapped", PLAIN, weight=values(lambda w: w.swapaxes(2, 3))),
    in_tf("kernel: flipped", PLAIN, weight=values(lambda w: w[:, :, ::-1, ::-1])),
    in_tf(
        "kernel: input and output planes swapped", PLAIN, weight=values(lambda w: w.swapaxes(0, 1))
    ),
    in_tf(
        "kernel: planes last in a 2-D weight",
        OLD,
        weight=values(lambda w: w.reshape(4, 3, 3, 4).transpose(0, 3, 1, 2)),
    ),
    in_tf(
        "kernel: groups swapped",
        GROUPED,
        cls="cudnn.SpatialConvolution",
        weight=values(lambda w: np.roll(w, 2, axis=0)),
    ),
    in_tf(
        "input planes: BGR for RGB",
        lambda: sequential(conv(3, 4)),
        "1",
        weight=values(lambda w: w[:, ::-1]),
    ),
    in_tf("stride: dW before dH", UNEVEN, stride=swapped),
    in_tf("padding: padW before padH", UNEVEN, pad=swapped),
    in_tf("padding: one more", PADDED, pad=to((2, 2))),
    in_tf("padding: one less", PADDED, pad=to((0, 0))),
    Mutation(
        "padding: SAME at stride 2",
        CONVOLUTION,
        with_methods(CONVOLUTION, correlation=same_padding),
        HALVING,
    ),
    in_tf("dilation: W before H", DILATED, cls="nn.SpatialDilatedConvolution", dilation=swapped),
    in_tf("bias: missing", PLAIN, bias=to(None)),
    Mutation("bias: added twice", CONVOLUTION, with_methods(CONVOLUTION, apply=bias_twice), PLAIN),
    in_tf(
        "depthwise: multiples of a plane in another order",
        DEPTHWISE,
        cls="nn.SpatialDepthWiseConvolution",
        weight=values(lambda w: w[::-1]),
    ),
    in_tf(
        "temporal kernel: frames and features swapped",
        temporal,
        "1",
        "nn.TemporalConvolution",
        weight=values(lambda w: w.swapaxes(1, 2)),
    ),
    in_tf(
        "full convolution: kernel flipped",
        behind(full_convolution()),
        cls=FULL,
        weight=values(lambda w: w[:, :, ::-1, ::-1]),
    ),
    in_tf(
        "full convolution: planes swapped",
        behind(full_convolution()),
        cls=FULL,
        weight=values(lambda w: w.swapaxes(0, 1)),
    ),
    in_tf("full convolution: adj ignored", behind(full_convolution()), cls=FULL, adj=to((0, 0))),
    in_tf("full convolution: adjW before adjH", behind(full_convolution()), cls=FULL, adj=swapped),
    Mutation(
        "full convolution: cropped at the other side",
        FULL,
        with_methods(FULL, convolve=cropped_at_the_other_side),
        behind(full_convolution()),
    ),
    in_tf(
        "linear: weight transposed", square_linear, "1", "nn.Linear", weight=values(lambda w: w.T)
    ),
    in_tf("linear: bias missing", square_linear, "1", "nn.Linear", bias=to(None)),
    Mutation(
        "linear: flattened features taken for Torch's",
        "nn.Linear",
        with_methods("nn.Linear", apply=rows_in_torch_order),
        classifier,
        "4",
    ),
    Mutation(
        "view: flattened channels-last, called Torch's order",
        "nn.View",
        with_methods("nn.View", layouts=flat_but_unnamed),
        classifier,
        "3",
    ),
]
