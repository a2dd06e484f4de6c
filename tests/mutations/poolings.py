"""Windows of poolings, borders, and what enlarges images."""

from __future__ import annotations

from typing import Any

from porter.ir.layout import OpContext, size
from porter.layer_maps.padding import SpatialReflectionPadding, SpatialSymmetricPadding
from porter.layer_maps.windows import surround
from porter.torch7 import TorchObject
from tests.build import torch_module
from tests.mutations.mutation import (
    Mutation,
    behind,
    in_tensorflow,
    original,
    swapped,
    to,
    with_methods,
)

MAX, AVERAGE = "nn.SpatialMaxPooling", "nn.SpatialAveragePooling"
ZERO, REFLECTION = "nn.SpatialZeroPadding", "nn.SpatialReflectionPadding"
REPLICATION, SYMMETRIC = "nn.SpatialReplicationPadding", "nn.SpatialSymmetricPadding"
NEAREST, BILINEAR = "nn.SpatialUpSamplingNearest", "nn.SpatialUpSamplingBilinear"
SHUFFLE, ADAPTIVE = "nn.PixelShuffle", "nn.SpatialAdaptiveMaxPooling"


def pooling(typename: str = MAX, **fields: Any) -> TorchObject:
    sizes = {"kH": 3, "kW": 3, "dH": 2, "dW": 2, "padH": 1, "padW": 1, "divide": True}
    return torch_module(typename, **(sizes | {"count_include_pad": True} | fields))


def border(typename: str) -> TorchObject:
    return torch_module(typename, pad_l=1, pad_r=2, pad_t=3, pad_b=4)


def padded_with_zeros(self: Any, tf: Any, x: Any, pads: Any, at: OpContext) -> Any:
    return tf.nn.max_pool2d(surround(tf, x, pads, 0), self.kernel, self.stride, "VALID")


def zeros_around(self: Any, tf: Any, x: Any, at: OpContext) -> Any:
    return original(ZERO).apply(self, tf, x, at=at)


def half_pixel_nearest(self: Any, tf: Any, x: Any, at: OpContext) -> Any:
    """As if sampled at rounded corners: every block is half a pixel further on."""
    out = original(NEAREST).apply(self, tf, x, at=at)
    return tf.roll(out, [1, 1], axis=[1, 2])


def half_pixel_bilinear(self: Any, tf: Any, x: Any, at: OpContext) -> Any:
    """TensorFlow's default, which aligns no corners."""
    extents = [tf.multiply(size(tf, x, axis), self.scale) for axis in (1, 2)]
    return tf.cast(tf.image.resize(x, tf.stack(extents), method="bilinear"), x.dtype)


def tensorflow_order_of_planes(self: Any, tf: Any, x: Any, at: OpContext) -> Any:
    return tf.nn.depth_to_space(x, self.scale)


def in_tf(name: str, net: Any, typename: str = MAX, **changes: Any) -> Mutation:
    return Mutation(name, typename, in_tensorflow(typename, **changes), net)


def method(name: str, typename: str, net: Any, **methods: Any) -> Mutation:
    return Mutation(name, typename, with_methods(typename, **methods), net)


TALL = behind(pooling(kH=4, kW=2, dH=1, dW=2, padH=2, padW=0))
FLOOR, CEIL = behind(pooling(padH=0, padW=0)), behind(pooling(padH=0, padW=0, ceil_mode=True))
MEAN = behind(pooling(AVERAGE))


def mirrored(typename: str, other: type) -> Mutation:
    """A mirror at the other place: at the outermost element, or behind it."""
    return method(
        f"{typename.removeprefix('nn.Spatial')}: mirrored as {other.__name__} does",
        typename,
        behind(border(typename)),
        sources=other.sources,
    )


MUTATIONS = [
    in_tf("pooling: kW before kH", TALL, kernel=swapped),
    in_tf("pooling: dW before dH", TALL, stride=swapped),
    in_tf("pooling: padW before padH", TALL, pad=swapped),
    in_tf("pooling: floor for ceil", CEIL, ceil=to(False)),
    in_tf("pooling: ceil for floor", FLOOR, ceil=to(True)),
    method("pooling: padded with zeros", MAX, behind(pooling()), pool=padded_with_zeros),
    in_tf("average: padding not counted", MEAN, AVERAGE, count_pad=to(False)),
    in_tf(
        "average: padding counted",
        behind(pooling(AVERAGE, count_include_pad=False)),
        AVERAGE,
        count_pad=to(True),
    ),
    in_tf(
        "average: divide ignored", behind(pooling(AVERAGE, divide=False)), AVERAGE, divide=to(True)
    ),
    in_tf(
        "average: ceil windows divided by the whole kernel",
        behind(pooling(AVERAGE, ceil_mode=True, padH=0, padW=0, kH=2, kW=2)),
        AVERAGE,
        is_cudnn=to(True),
    ),
    in_tf(
        "adaptive pooling: W before H",
        behind(torch_module(ADAPTIVE, H=5, W=3)),
        ADAPTIVE,
        output_size=swapped,
    ),
    in_tf("border: left and right swapped", behind(border(ZERO)), ZERO, pads=to((3, 4, 2, 1))),
    in_tf("border: top and bottom swapped", behind(border(ZERO)), ZERO, pads=to((4, 3, 1, 2))),
    in_tf("border: one element more", behind(border(ZERO)), ZERO, pads=to((3, 4, 1, 3))),
    in_tf(
        "reflection: top and bottom swapped",
        behind(border(REFLECTION)),
        REFLECTION,
        pads=to((4, 3, 1, 2)),
    ),
    method("reflection: zeros", REFLECTION, behind(border(REFLECTION)), apply=zeros_around),
    method("replication: zeros", REPLICATION, behind(border(REPLICATION)), apply=zeros_around),
    mirrored(REFLECTION, SpatialSymmetricPadding),
    mirrored(SYMMETRIC, SpatialReflectionPadding),
    method(
        "nearest upsampling: half a pixel off",
        NEAREST,
        behind(torch_module(NEAREST, scale_factor=2)),
        apply=half_pixel_nearest,
    ),
    method(
        "bilinear upsampling: corners not aligned",
        BILINEAR,
        behind(torch_module(BILINEAR, scale_factor=2)),
        apply=half_pixel_bilinear,
    ),
    method(
        "pixel shuffle: TensorFlow's order of planes",
        SHUFFLE,
        behind(torch_module(SHUFFLE, upscaleFactor=2), planes=8),
        apply=tensorflow_order_of_planes,
    ),
]
