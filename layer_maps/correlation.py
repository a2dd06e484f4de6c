"""What convolutions share: correlation in NumPy, and checks of weights and sizes.

Source: THNN SpatialConvolutionMM.c, SpatialDilatedConvolution.c.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from porter.maps import Array, BadField, Param, Shape

PIECE_BYTES = 2**24
"""The reference unfolds its input; larger unfoldings are made piece by piece."""
MAX_ELEMENTS = 2**31
"""Torch and TensorFlow count the pixels of a plane in 32 bits."""


def correlate(
    x: Array,
    filters: Array,
    stride: Shape,
    pads: tuple[tuple[int, int], ...],
    dilation: Shape,
) -> Array:
    """N×I×space with O×I×kernel gives N×O×space; `pads` are zeros before and after each axis."""
    axes = tuple(range(2, x.ndim))
    span = tuple((k - 1) * d + 1 for k, d in zip(filters.shape[2:], dilation, strict=True))
    padded = np.pad(x, ((0, 0), (0, 0), *pads))
    windows = np.lib.stride_tricks.sliding_window_view(padded, span, axis=axes)
    places = tuple(slice(None, None, step) for step in stride)
    taps = tuple(slice(None, None, step) for step in dilation)
    windows = windows[(slice(None), slice(None), *places, *taps)]
    return np.stack([contract(filters, sample) for sample in windows])


def contract(filters: Array, windows: Array) -> Array:
    """O×I×kernel with I×space×kernel gives O×space, halved until the unfolding is small."""
    space = windows.shape[1 : windows.ndim // 2 + 1]
    longest = max(range(len(space)), key=lambda axis: space[axis])
    if windows.nbytes <= PIECE_BYTES or space[longest] == 1:
        taps = tuple(range(len(space) + 1, windows.ndim))
        product: Array = np.tensordot(
            filters, windows, axes=(tuple(range(1, filters.ndim)), (0, *taps))
        )
        return product
    halves = np.array_split(windows, 2, axis=longest + 1)
    return np.concatenate([contract(filters, half) for half in halves], axis=longest + 1)


def shaped(weight: Param, shape: Shape, typename: str) -> Param:
    """`weight` in the shape that follows from the module's sizes.

    Torch views the same memory in another shape: old files have 2-D weights, old cudnn ones
    an axis of groups in front, and w2nn.RandomBinaryConvolution swaps kH and kW.
    """
    if not np.issubdtype(weight.array.dtype, np.floating):
        raise BadField(
            f"'weight' of {typename} should be floating", received=str(weight.array.dtype)
        )
    if weight.shape == shape:
        return weight
    fits = weight.shape[0] == shape[0] and len(weight.shape) in (2, len(shape))
    grouped = len(weight.shape) == len(shape) + 1
    if not (fits or grouped) or weight.array.size != math.prod(shape):
        raise BadField(
            f"'weight' of {typename} should have the shape {'×'.join(map(str, shape))}",
            received="×".join(map(str, weight.shape)),
        )
    return weight.with_array(weight.array.reshape(shape), weight.axes, weight.to)


def check_sizes(typename: str, least: int, **sizes: Shape) -> None:
    """Raise `BadField` for kernels, strides and paddings that no layer can have."""
    for name, values in sizes.items():
        if min(values) < least:
            raise BadField(
                f"{name} of {typename} should be at least {least}",
                received="×".join(map(str, values)),
            )


def every(tf: Any, x: Any, steps: tuple[int, ...]) -> Any:
    """Every step-th place along each spatial axis of a channels-last tensor."""
    start = [0] * (len(steps) + 2)
    return tf.strided_slice(x, start, start, [1, *steps, 1], end_mask=2 ** len(start) - 1)
