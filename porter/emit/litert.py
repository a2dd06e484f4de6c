"""TensorFlow as layer maps see it when they are traced for LiteRT.

LiteRT has fewer operations than TensorFlow, and no double precision. Layer maps are handed `tf`, so
the missing functions are composed here, once, from operations that LiteRT has; the maps need not
know.
Only the arguments that layer maps use are supported.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from porter.emit.litert_loop import DenseArray, while_loop
from porter.emit.tracing.namespace import Namespace
from porter.ir.layout import Layout, size
from porter.system.tensorflow import tf


def max_pool2d(x: Any, ksize: Sequence[int], strides: Sequence[int], padding: Any) -> Any:
    """LiteRT pools with "SAME" or "VALID" only.

    Padded windows see the border's elements several times: each of them sees those anyway. The
    lowest number in their place would widen the range that 8 bits are spread over.
    """
    for axis, (before, behind) in enumerate([] if padding == "VALID" else padding):
        if before or behind:
            extent = size(tf, x, axis)
            places = tf.range(-before, tf.add(extent, behind))
            x = tf.gather(x, tf.clip_by_value(places, 0, tf.subtract(extent, 1)), axis=axis)
    return tf.nn.max_pool2d(x, ksize, strides, "VALID")


def pool3d(operation: Any, x: Any, ksize: Sequence[int], strides: Sequence[int]) -> Any:
    """Over H and W of every picture, then over T: largest and mean elements can be found so."""
    time, features = size(tf, x, 1), size(tf, x, 4)
    flat = operation(merged(x, 0, 1), ksize[1:], strides[1:], "VALID")
    height, width = size(tf, flat, 1), size(tf, flat, 2)
    clips = tf.reshape(flat, tf.stack([-1, time, tf.multiply(height, width), features]))
    pooled = operation(clips, [ksize[0], 1], [strides[0], 1], "VALID")
    return tf.reshape(pooled, tf.stack([-1, size(tf, pooled, 1), height, width, features]))


def merged(x: Any, first: int, last: int) -> Any:
    """`x` with two neighbouring axes as one."""
    sizes = [size(tf, x, axis) for axis in range(len(x.shape))]
    return tf.reshape(x, tf.stack([*sizes[:first], -1, *sizes[last + 1 :]]))


def max_pool3d(x: Any, ksize: Sequence[int], strides: Sequence[int], padding: str) -> Any:
    """There is no pooling of volumes."""
    assert padding == "VALID"
    return pool3d(tf.nn.max_pool2d, x, ksize, strides)


def avg_pool3d(x: Any, ksize: Sequence[int], strides: Sequence[int], padding: str) -> Any:
    """There is no pooling of volumes."""
    assert padding == "VALID"
    return pool3d(tf.nn.avg_pool2d, x, ksize, strides)


def max_pool_with_argmax(
    x: Any,
    ksize: Sequence[int],
    strides: Sequence[int],
    padding: str,
    output_dtype: Any,
    include_batch_in_index: bool,
) -> tuple[Any, Any]:
    """The largest elements and their places in the flattened tensor; the first of equal ones."""
    assert padding == "VALID"
    assert include_batch_in_index
    places = tf.reshape(tf.range(tf.size(x)), tf.shape(x))
    best = best_places = None
    for taps in itertools.product(*map(range, ksize)):
        element, place = (tap(each, taps, ksize, strides) for each in (x, places))
        if best is None:
            best, best_places = element, place
        else:
            best_places = tf.where(tf.greater(element, best), place, best_places)
            best = tf.maximum(element, best)
    return best, tf.cast(best_places, output_dtype)


def tap(x: Any, taps: Sequence[int], ksize: Sequence[int], strides: Sequence[int]) -> Any:
    """The element at `taps` of every window over H and W."""
    ends = [
        tf.add(tf.subtract(size(tf, x, axis), k - 1), offset)
        for axis, (offset, k) in enumerate(zip(taps, ksize, strict=True), start=1)
    ]
    end = tf.stack([size(tf, x, 0), *ends, size(tf, x, 3)])
    return tf.strided_slice(x, [0, *taps, 0], end, [1, *strides, 1])


def pad(x: Any, paddings: Any, mode: str = "CONSTANT", constant_values: float = 0) -> Any:
    """With amounts known only at run time LiteRT forgets all sizes: the fixed ones are restored."""
    out = tf.pad(x, paddings, mode, constant_values)
    rows = paddings if isinstance(paddings, list) else []
    if all(isinstance(edge, int) for row in rows for edge in row):
        return out
    extents = [
        before + inner + behind
        if all(isinstance(n, int) for n in (before, inner, behind))
        else None
        for (before, behind), inner in zip(rows, x.shape, strict=True)
    ]
    if extents.count(None) == 1:
        return tf.reshape(out, [-1 if extent is None else extent for extent in extents])
    whole = tf.shape(out)
    return tf.reshape(
        out, [whole[i] if extent is None else extent for i, extent in enumerate(extents)]
    )


def sliced(x: Any, begin: Any, extents: Any) -> Any:
    """LiteRT's fast path needs explicit sizes: no slice may run to the end of an axis."""
    starts, sizes = static(begin), static(extents)
    if starts is None or sizes is None or None in x.shape:
        return tf.slice(x, begin, extents)
    axes = zip(x.shape, starts, sizes, strict=True)
    return tf.slice(x, starts, [n - first if count == -1 else count for n, first, count in axes])


def static(numbers: Any) -> list[int] | None:
    """The numbers of a tensor, or of a list of which some may be tensors; None if one is open."""
    whole: Any = tf.get_static_value(numbers)
    if whole is None:
        return None
    each: list[Any] = [tf.get_static_value(number) for number in whole]
    return None if None in each else [int(number) for number in each]


def at_least(tensor: Any, layout: Layout, least: Mapping[int, int], name: str) -> Any:
    """LiteRT drops assertions. It refuses a slice behind the end, here an empty one for each axis.

    Joined to the tensor, they change nothing, and no layer runs before them.
    """
    empty = tensor
    stored = [(layout.axis(axis), extent) for axis, extent in least.items()]
    for axis, extent in stored:
        begin, extents = [0] * len(tensor.shape), [-1] * len(tensor.shape)
        begin[axis], extents[axis] = extent, 0
        part = tf.slice(empty, begin, extents)
        empty = part if empty is tensor else tf.concat([empty, part], axis)
    return tf.concat([tensor, empty], stored[0][0]) if stored else tensor


def scatter_nd(indices: Any, updates: Any, shape: Any) -> Any:
    """Places count in 32 bits."""
    return tf.scatter_nd(tf.cast(indices, tf.int32), updates, tf.cast(shape, tf.int32))


def extract_patches(
    images: Any, sizes: Sequence[int], strides: Sequence[int], rates: Sequence[int], padding: str
) -> Any:
    """A convolution whose every filter picks one element of the window."""
    assert set(rates) == {1}
    planes = images.shape[-1]
    count = functools.reduce(int.__mul__, sizes[1:3], planes)
    filters = tf.reshape(tf.eye(count, dtype=images.dtype), [*sizes[1:3], planes, count])
    return tf.nn.conv2d(images, filters, strides=strides, padding=padding)


def log_softmax(logits: Any, axis: int = -1) -> Any:
    """LiteRT's own, in 8 bits, knows nothing below -16: it would cut off most of the range.

    Written so that the converter does not find its own again.
    """
    largest = tf.reduce_max(logits, axis=axis, keepdims=True)
    total = tf.reduce_sum(tf.exp(tf.subtract(logits, largest)), axis=axis, keepdims=True)
    return tf.subtract(logits, tf.add(largest, tf.math.log(total)))


REPLACED = {
    "float64": tf.float32,
    "pad": pad,
    "slice": sliced,
    "nn.max_pool2d": max_pool2d,
    "nn.max_pool3d": max_pool3d,
    "nn.avg_pool3d": avg_pool3d,
    "nn.max_pool_with_argmax": max_pool_with_argmax,
    "scatter_nd": scatter_nd,
    "image.extract_patches": extract_patches,
    "TensorArray": DenseArray,
    "while_loop": while_loop,
}

LITERT = Namespace(REPLACED)
"""What the TFLite emitter hands to layer maps as `tf`."""

LITERT_INTEGER = Namespace(REPLACED | {"nn.log_softmax": log_softmax})
"""The same for files that compute in 8 bits."""
