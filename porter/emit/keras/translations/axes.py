"""Axes that come, go, are cut, joined or changed, and elements picked by place."""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.emit.keras.calls import call, item, ops
from porter.emit.keras.translations.registry import translates
from porter.emit.tracing.expression import Expression
from porter.emit.tracing.recorder import Symbol
from porter.errors import EmitError


@translates("reshape")
def reshape(tensor: Any, shape: Any) -> Expression:
    return ops("reshape", tensor, tuple(shape))


@translates("transpose")
def transpose(a: Any, perm: Any = None) -> Expression:
    return ops("transpose", a, None if perm is None else list(perm))


@translates("squeeze")
def squeeze(input: Any, axis: Any = None) -> Expression:
    axes = axis if isinstance(axis, list | tuple) else [axis]
    return ops("squeeze", input, axes[0] if len(axes) == 1 else tuple(axes))


@translates("ensure_shape")
def ensure_shape(x: Any, shape: Any) -> Any:
    return x


@translates("split")
def split(value: Any, num_or_size_splits: Any, axis: int = 0, num: Any = None) -> Expression:
    if isinstance(num_or_size_splits, int):
        return ops("split", value, num_or_size_splits, axis=axis)
    ends = np.cumsum(np.asarray(num_or_size_splits, object))[:-1]
    return ops("split", value, list(ends), axis=axis)


@translates("stack")
def stack(values: Any, axis: int = 0) -> Expression:
    return ops("stack", list(values), axis=axis)


@translates("unstack")
def unstack(value: Any, num: Any = None, axis: int = 0) -> Expression:
    return ops("unstack", value, num, axis=axis)


@translates("concat")
def concat(values: Any, axis: int) -> Expression:
    return ops("concatenate", list(values), axis=axis)


@translates("tile")
def tile(input: Any, multiples: Any) -> Expression:
    return ops("tile", input, list(multiples))


@translates("repeat")
def repeat(input: Any, repeats: Any, axis: Any = None) -> Expression:
    return ops("repeat", input, repeats, axis=axis)


@translates("reverse")
def reverse(tensor: Any, axis: Any) -> Expression:
    return ops("flip", tensor, axis=axis[0] if len(axis) == 1 else tuple(axis))


@translates("broadcast_to")
def broadcast_to(input: Any, shape: Any) -> Expression:
    return ops("broadcast_to", input, tuple(shape))


@translates("fill")
def fill(dims: Any, value: Any) -> Expression:
    return ops("full", tuple(dims), value, dtype=value.dtype.name)


@translates("zeros")
def zeros(shape: Any, dtype: Any) -> Expression:
    return ops("zeros", tuple(shape), dtype.name)


@translates("range")
def arange(start: Any, limit: Any = None, delta: Any = 1) -> Expression:
    ends = [0, start] if limit is None else [start, limit]
    shortest = ends[1:] if limit is None and delta == 1 else ends
    return ops("arange", *shortest, *([] if delta == 1 else [delta]), dtype="int32")


@translates("one_hot")
def one_hot(indices: Any, depth: Any, dtype: Any) -> Expression:
    return ops("one_hot", indices, depth, dtype=dtype.name)


@translates("pad")
def pad(tensor: Any, paddings: Any, constant_values: Any = 0) -> Any:
    return padded(tensor, paddings, constant_values)


def padded(x: Any, paddings: Any, value: Any = 0) -> Any:
    """`x` itself where nothing is added."""
    pairs = [list(pair) for pair in paddings]
    if not any(isinstance(n, Symbol) or n for pair in pairs for n in pair):
        return x
    return ops("pad", x, pairs, constant_values=value or None)


@translates("gather")
def gather(params: Any, indices: Any, axis: Any = 0, batch_dims: int = 0) -> Expression:
    if batch_dims == 0:
        return ops("take", params, indices, axis=axis)
    return call("take_batched", params, indices, axis % len(params.shape), batch_dims)


@translates("boolean_mask")
def boolean_mask(tensor: Any, mask: Any) -> Expression:
    raise EmitError("how many elements it selects depends on their values, which JAX refuses")


@translates("bitwise.bitwise_and", "bitwise.bitwise_xor", "bitwise.right_shift")
def bitwise(**_: Any) -> Expression:
    raise EmitError("it counts in 64 bits, which JAX does not")


@translates("slice")
def slices(input_: Any, begin: Any, size: Any) -> Expression:
    keys = [
        slice(start if nonzero(start) else None, None if is_rest(count) else start + count)
        for start, count in zip(begin, size, strict=True)
    ]
    return item(input_, *keys)


def nonzero(size: Any) -> bool:
    return isinstance(size, Symbol) or size != 0


def is_rest(size: Any) -> bool:
    """Whether a slice goes on to the end."""
    return not isinstance(size, Symbol) and size == -1


@translates("strided_slice")
def strided_slice(
    input_: Any,
    begin: Any,
    end: Any,
    strides: Any = None,
    begin_mask: int = 0,
    end_mask: int = 0,
) -> Expression:
    steps = strides or [1] * len(begin)
    keys = [
        slice(
            None if begin_mask >> axis & 1 or not nonzero(start) else start,
            None if end_mask >> axis & 1 else stop,
            step,
        )
        for axis, (start, stop, step) in enumerate(zip(begin, end, steps, strict=True))
    ]
    return item(input_, *keys)


@translates("scatter_nd")
def scatter_nd(indices: Any, updates: Any, shape: Any) -> Expression:
    return ops("scatter", indices, updates, tuple(shape))


@translates("space_to_batch")
def space_to_batch(input: Any, block_shape: Any, paddings: Any) -> Expression:
    return call("space_to_batch", input, list(block_shape), paddings)


@translates("batch_to_space")
def batch_to_space(input: Any, block_shape: Any, crops: Any) -> Expression:
    return call("batch_to_space", input, list(block_shape), crops)
