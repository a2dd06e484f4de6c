"""What keras.ops lacks: the functions that `layers.py` brings along where its layers need them.

Each is copied as it stands, so it uses nothing but keras.ops and functions of this file. Sizes are
integers, or scalar tensors in a TensorFlow graph.
"""

from __future__ import annotations

from typing import Any

from porter.emit.keras.library import keras

ops: Any = keras.ops


def larger(a: Any, b: Any) -> Any:
    """The larger of two sizes."""
    return max(a, b) if isinstance(a, int) and isinstance(b, int) else ops.maximum(a, b)


def smaller(a: Any, b: Any) -> Any:
    """The smaller of two sizes."""
    return min(a, b) if isinstance(a, int) and isinstance(b, int) else ops.minimum(a, b)


def resize_nearest(images: Any, sizes: Any) -> Any:
    """Images enlarged to height and width `sizes` by repeating pixels."""
    for axis, size in zip((-3, -2), sizes, strict=True):
        places = ops.arange(size) * ops.shape(images)[axis] // size
        images = ops.take(images, places, axis=axis)
    return images


def resize_aligned(images: Any, sizes: Any) -> Any:
    """Linear interpolation; the corners of N×H×W×C and of the output are the same."""
    for axis, size in zip((1, 2), sizes, strict=True):
        last = ops.shape(images)[axis] - 1
        rate = ops.cast(last, "float32") / ops.cast(larger(size - 1, 1), "float32")
        place = rate * ops.cast(ops.arange(size), "float32")
        low = ops.cast(place, "int32")
        share = ops.reshape(place - ops.cast(low, "float32"), [-1] + [1] * (3 - axis))
        lower = ops.take(images, low, axis=axis)
        upper = ops.take(images, ops.minimum(low + 1, last), axis=axis)
        images = lower + share * (upper - lower)
    return images


def conv_transpose(x: Any, kernel: Any, strides: Any, sizes: Any, padding: str) -> Any:
    """A transposed convolution to `sizes`: "same" crops the whole evenly, "valid" adds zeros."""
    whole = ops.conv_transpose(x, kernel, strides, "valid", data_format="channels_last")
    beyond = [[0, stride] for stride in strides]
    whole = ops.pad(whole, [[0, 0], *beyond, [0, 0]])
    kept: list[Any] = [slice(None)]
    for axis, (stride, size) in enumerate(zip(strides, sizes, strict=True)):
        reached = (ops.shape(x)[axis + 1] - 1) * stride + kernel.shape[axis]
        first = larger(reached - size, 0) // 2 if padding == "same" else 0
        kept.append(slice(first, first + size))
    return whole[tuple(kept)]


def max_pool_with_argmax(x: Any, window: Any) -> Any:
    """Maxima of windows side by side, and where in the flattened batch each was found first."""
    batch, height, width, planes = ops.shape(x)
    down, right = window
    rows, columns = height // down, width // right
    parts = x[:, : rows * down, : columns * right]
    parts = ops.reshape(parts, (batch, rows, down, columns, right, planes))
    parts = ops.transpose(parts, [0, 1, 3, 5, 2, 4])
    parts = ops.reshape(parts, (batch, rows, columns, planes, down * right))
    place = ops.cast(ops.argmax(parts, axis=-1), "int32")
    y = ops.reshape(ops.arange(rows), (-1, 1, 1)) * down + place // right
    z = ops.reshape(ops.arange(columns), (-1, 1)) * right + place % right
    image = ops.reshape(ops.arange(batch), (-1, 1, 1, 1))
    index = ((image * height + y) * width + z) * planes + ops.arange(planes)
    return ops.max(parts, axis=-1), index


def depth_to_space(images: Any, block: int) -> Any:
    """Planes of N×H×W×C laid out as blocks of pixels, rows of a block first."""
    _, height, width, planes = ops.shape(images)
    depth = planes // block**2
    parts = ops.reshape(images, (-1, height, width, block, block, depth))
    parts = ops.transpose(parts, [0, 1, 3, 2, 4, 5])
    return ops.reshape(parts, (-1, height * block, width * block, depth))


def take_batched(x: Any, places: Any, axis: int, batch: int) -> Any:
    """Elements along `axis` at `places`, whose first `batch` axes are those of `x`."""
    sizes, extents = ops.shape(places), ops.shape(x)
    between, behind = [1] * (axis - batch), [1] * (len(extents) - axis - 1)
    flat = ops.reshape(places, (*sizes[:batch], *between, -1, *behind))
    elements = ops.take_along_axis(x, flat, axis=axis)
    return ops.reshape(elements, (*extents[:axis], *sizes[batch:], *extents[axis + 1 :]))


def space_to_batch(x: Any, block: Any, paddings: Any) -> Any:
    """The interleaved images that `block` steps reach, each as one sample of a larger batch."""
    x = ops.pad(x, [[0, 0], *paddings, [0, 0]])
    count, (batch, *spaces, planes) = len(block), ops.shape(x)
    split = [
        size for space, step in zip(spaces, block, strict=True) for size in (space // step, step)
    ]
    x = ops.reshape(x, (batch, *split, planes))
    steps = [2 * axis + 2 for axis in range(count)]
    places = [2 * axis + 1 for axis in range(count)]
    x = ops.transpose(x, [*steps, 0, *places, 2 * count + 1])
    return ops.reshape(x, (-1, *split[::2], planes))


def batch_to_space(x: Any, block: Any, crops: Any) -> Any:
    """The images that `space_to_batch` took apart, less `crops` at their edges."""
    count, (_, *spaces, planes) = len(block), ops.shape(x)
    x = ops.reshape(x, (*block, -1, *spaces, planes))
    pairs = [axis for i in range(count) for axis in (count + 1 + i, i)]
    x = ops.transpose(x, [count, *pairs, 2 * count + 1])
    whole = [space * step for space, step in zip(spaces, block, strict=True)]
    x = ops.reshape(x, (-1, *whole, planes))
    kept = [slice(a, size - b) for size, (a, b) in zip(whole, crops, strict=True)]
    return x[(slice(None), *kept)]
