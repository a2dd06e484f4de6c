"""Convolutions, poolings and resizing: windows over channels-last tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from porter.emit.keras.calls import call, ops
from porter.emit.keras.translations.axes import padded
from porter.emit.keras.translations.registry import translates
from porter.emit.tracing.expression import Expression
from porter.errors import EmitError


def spatial(item: Any, rank: int) -> Any:
    """The spatial part of TensorFlow's `[1, …, 1]`, or of one number for all axes."""
    if isinstance(item, int):
        return (item,) * rank if rank > 1 else item
    inner = tuple(item)[1:-1] if len(item) == rank + 2 else tuple(item)
    return inner if rank > 1 else inner[0]


def explicit(x: Any, padding: Any, value: Any = 0) -> tuple[Any, str]:
    """The input padded where padding is spelled out, and the padding that is left."""
    if isinstance(padding, str):
        return x, padding.lower()
    return padded(x, padding, value), "valid"


def convolution(rank: int) -> Callable[..., Any]:
    def translate(
        input: Any,
        filters: Any,
        strides: Any = 1,
        padding: Any = "VALID",
        stride: Any = None,
    ) -> Expression:
        x, left = explicit(input, padding)
        steps = spatial(strides if stride is None else stride, rank)
        return ops("conv", x, filters, strides=steps, padding=left, data_format="channels_last")

    return translate


for dimensions in (1, 2, 3):
    translates(f"nn.conv{dimensions}d")(convolution(dimensions))


@translates("nn.depthwise_conv2d")
def depthwise_conv2d(input: Any, filter: Any, strides: Any, padding: Any) -> Expression:
    x, left = explicit(input, padding)
    steps = spatial(strides, 2)
    return ops(
        "depthwise_conv", x, filter, strides=steps, padding=left, data_format="channels_last"
    )


def transposed(rank: int) -> Callable[..., Any]:
    def translate(
        input: Any, filters: Any, output_shape: Any, strides: Any, padding: str
    ) -> Expression:
        sizes = tuple(list(output_shape)[1:-1])
        steps = tuple(list(strides)[1:-1])
        return call("conv_transpose", input, filters, steps, sizes, padding.lower())

    return translate


for dimensions in (2, 3):
    translates(f"nn.conv{dimensions}d_transpose")(transposed(dimensions))


def pooling(function: str, rank: int) -> Callable[..., Any]:
    def translate(input: Any, ksize: Any, strides: Any, padding: Any) -> Expression:
        x, left = explicit(input, padding, float(np.finfo(np.float32).min))
        return ops(
            function,
            x,
            spatial(ksize, rank),
            strides=spatial(strides, rank),
            padding=left,
            data_format="channels_last",
        )

    return translate


for dimensions in (1, 2, 3):
    translates(f"nn.max_pool{dimensions}d")(pooling("max_pool", dimensions))
    translates(f"nn.avg_pool{dimensions}d")(pooling("average_pool", dimensions))


@translates("nn.max_pool_with_argmax")
def max_pool_with_argmax(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    output_dtype: Any = None,
    include_batch_in_index: bool = False,
) -> Expression:
    return call("max_pool_with_argmax", input, tuple(ksize))


@translates("image.extract_patches")
def extract_patches(images: Any, sizes: Any, strides: Any, rates: Any, padding: str) -> Expression:
    return ops(
        "image.extract_patches",
        images,
        spatial(sizes, 2),
        strides=spatial(strides, 2),
        dilation_rate=spatial(rates, 2),
        padding=padding.lower(),
        data_format="channels_last",
    )


@translates("nn.depth_to_space")
def depth_to_space(input: Any, block_size: int) -> Expression:
    return call("depth_to_space", input, block_size)


@translates("image.resize")
def resize(images: Any, size: Any, method: str) -> Expression:
    if method != "nearest":
        raise EmitError(f"no layer map resizes by {method}")
    return call("resize_nearest", images, tuple(size))


@translates("raw_ops.ResizeBilinear")
def resize_bilinear(
    images: Any, size: Any, align_corners: bool, half_pixel_centers: bool
) -> Expression:
    if not align_corners or half_pixel_centers:
        raise EmitError("only images with aligned corners are resized by layer maps")
    return call("resize_aligned", images, tuple(size))
