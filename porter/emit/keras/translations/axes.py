"""Axes that come, go, are cut, joined or changed, and elements picked by place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from porter.emit.keras.calls import call, item, ops
from porter.emit.keras.translations.registry import translate_all, translates
from porter.emit.tracing.expression import Expression
from porter.emit.tracing.recorder import Symbol
from porter.errors import EmitError

SHORT: dict[str, Callable[..., Any]] = {
    "reshape": lambda tensor, shape: ops("reshape", tensor, tuple(shape)),
    "transpose": lambda a, perm=None: ops("transpose", a, None if perm is None else list(perm)),
    "ensure_shape": lambda x, shape: x,
    "stack": lambda values, axis=0: ops("stack", list(values), axis=axis),
    "unstack": lambda value, num=None, axis=0: ops("unstack", value, num, axis=axis),
    "concat": lambda values, axis: ops("concatenate", list(values), axis=axis),
    "tile": lambda input, multiples: ops("tile", input, list(multiples)),
    "repeat": lambda input, repeats, axis=None: ops("repeat", input, repeats, axis=axis),
    "broadcast_to": lambda input, shape: ops("broadcast_to", input, tuple(shape)),
    "fill": lambda dims, value: ops("full", tuple(dims), value, dtype=value.dtype.name),
    "zeros": lambda shape, dtype: ops("zeros", tuple(shape), dtype.name),
    "one_hot": lambda indices, depth, dtype: ops("one_hot", indices, depth, dtype=dtype.name),
    "pad": lambda tensor, paddings, constant_values=0: padded(tensor, paddings, constant_values),
    "scatter_nd": lambda indices, updates, shape: ops("scatter", indices, updates, tuple(shape)),
}
"""Translations of one expression."""

translate_all(SHORT)


@translates("squeeze")
def squeeze(input: Any, axis: Any = None) -> Expression:
    axes = axis if isinstance(axis, list | tuple) else [axis]
    return ops("squeeze", input, axes[0] if len(axes) == 1 else tuple(axes))


@translates("split")
def split(value: Any, num_or_size_splits: Any, axis: int = 0, num: Any = None) -> Expression:
    if isinstance(num_or_size_splits, int):
        return ops("split", value, num_or_size_splits, axis=axis)
    ends = np.cumsum(np.asarray(num_or_size_splits, object))[:-1]
    return ops("split", value, list(ends), axis=axis)


@translates("reverse")
def reverse(tensor: Any, axis: Any) -> Expression:
    return ops("flip", tensor, axis=axis[0] if len(axis) == 1 else tuple(axis))


@translates("range")
def arange(start: Any, limit: Any = None, delta: Any = 1) -> Expression:
    ends = [0, start] if limit is None else [start, limit]
    shortest = ends[1:] if limit is None and delta == 1 else ends
    return ops("arange", *shortest, *([] if delta == 1 else [delta]), dtype="int32")


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


@translates("space_to_batch")
def space_to_batch(input: Any, block_shape: Any, paddings: Any) -> Expression:
    return call("space_to_batch", input, list(block_shape), paddings)


@translates("batch_to_space")
def batch_to_space(input: Any, block_shape: Any, crops: Any) -> Expression:
    return call("batch_to_space", input, list(block_shape), crops)
