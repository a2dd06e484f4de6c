"""How each function of TensorFlow that layer maps call is written in keras.ops.

A translation takes the trace and the arguments by their TensorFlow names, and returns an
expression, or the argument that is handed on as it is. What all of keras's backends must agree on decides: sizes as integers, explicit padding,
no layout but channels last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from porter.emit.keras.expressions import Call, Expression, Infix, Item
from porter.emit.keras.trace import Trace, Traced
from porter.errors import EmitError

TRANSLATIONS: dict[str, Callable[..., Any]] = {}


def translates(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the translation of `tf.<name>`."""

    def keep(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            assert name not in TRANSLATIONS, f"tf.{name} is translated twice"
            TRANSLATIONS[name] = function
        return function

    return keep


def ops(name: str, *args: Any, **options: Any) -> Call:
    """A call of keras.ops; options that are None are left out."""
    return Call(f"ops.{name}", args, {k: v for k, v in options.items() if v is not None})


# Element by element -------------------------------------------------------------------------------

SAME = {
    "abs": "abs",
    "cos": "cos",
    "exp": "exp",
    "floor": "floor",
    "identity": "identity",
    "logical_and": "logical_and",
    "logical_or": "logical_or",
    "math.ceil": "ceil",
    "math.is_nan": "isnan",
    "math.log": "log",
    "math.log_sigmoid": "log_sigmoid",
    "math.reciprocal": "reciprocal",
    "math.rsqrt": "rsqrt",
    "maximum": "maximum",
    "minimum": "minimum",
    "negative": "negative",
    "nn.elu": "elu",
    "nn.relu": "relu",
    "nn.softplus": "softplus",
    "nn.softsign": "softsign",
    "pow": "power",
    "sigmoid": "sigmoid",
    "sign": "sign",
    "sqrt": "sqrt",
    "square": "square",
    "stop_gradient": "stop_gradient",
    "tanh": "tanh",
    "where": "where",
    "zeros_like": "zeros_like",
    "ones_like": "ones_like",
    "equal": "equal",
    "not_equal": "not_equal",
}
INFIX = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "math.floormod": "%",
    "math.floordiv": "//",
    "greater": ">",
    "greater_equal": ">=",
    "less": "<",
    "less_equal": "<=",
}


def same(function: str) -> Callable[..., Any]:
    return lambda trace, *_, **given: ops(function, *given.values())


def infix(symbol: str) -> Callable[..., Any]:
    return lambda trace, x, y: Infix(symbol, x, y)


for tensorflow_name, keras_name in SAME.items():
    translates(tensorflow_name)(same(keras_name))
for tensorflow_name, symbol in INFIX.items():
    translates(tensorflow_name)(infix(symbol))


@translates("constant")
def constant(trace: Trace, value: Any, dtype: Any = None) -> Expression:
    array = np.asarray(value, None if dtype is None else dtype.as_numpy_dtype)
    return ops("array", array.tolist(), dtype=str(array.dtype))


@translates("cast")
def cast(trace: Trace, x: Any, dtype: Any) -> Expression:
    return ops("cast", x, dtype.name)


@translates("math.squared_difference")
def squared_difference(trace: Trace, x: Any, y: Any) -> Expression:
    return ops("square", Infix("-", x, y))


@translates("math.divide_no_nan")
def divide_no_nan(trace: Trace, x: Any, y: Any) -> Expression:
    zero = ops("equal", y, 0.0)
    return ops("where", zero, 0.0, Infix("/", x, ops("where", zero, 1.0, y)))


@translates("nn.leaky_relu")
def leaky_relu(trace: Trace, features: Any, alpha: float = 0.2) -> Expression:
    return ops("leaky_relu", features, alpha)


@translates("clip_by_value")
def clip_by_value(trace: Trace, t: Any, clip_value_min: Any, clip_value_max: Any) -> Expression:
    return ops("minimum", ops("maximum", t, clip_value_min), clip_value_max)


@translates("add_n")
def add_n(trace: Trace, inputs: Any) -> Any:
    total = inputs[0]
    for each in inputs[1:]:
        total = Infix("+", total, each)
    return total


@translates("nn.bias_add")
def bias_add(trace: Trace, value: Any, bias: Any) -> Expression:
    return Infix("+", value, bias)


@translates("nn.log_softmax")
def log_softmax(trace: Trace, logits: Any, axis: int = -1) -> Expression:
    return ops("log_softmax", logits, axis=axis)


# Reductions ---------------------------------------------------------------------------------------


def reduction(function: str) -> Callable[..., Any]:
    def translate(
        trace: Trace, input_tensor: Any, axis: Any = None, keepdims: bool = False
    ) -> Expression:
        return ops(function, input_tensor, axis=axis, keepdims=keepdims or None)

    return translate


for tensorflow_name, keras_name in {
    "reduce_sum": "sum",
    "reduce_mean": "mean",
    "reduce_max": "max",
    "reduce_min": "min",
    "reduce_prod": "prod",
    "reduce_any": "any",
    "reduce_all": "all",
}.items():
    translates(tensorflow_name)(reduction(keras_name))


@translates("argmax")
def argmax(trace: Trace, input: Any, axis: Any = None) -> Expression:
    return ops("cast", ops("argmax", input, axis=axis), "int64")


@translates("argmin")
def argmin(trace: Trace, input: Any, axis: Any = None) -> Expression:
    return ops("cast", ops("argmin", input, axis=axis), "int64")


@translates("norm")
def norm(
    trace: Trace, tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: bool = False
) -> Expression:
    options = {"axis": axis, "keepdims": keepdims or None}
    if ord in ("euclidean", 2):
        return ops("sqrt", ops("sum", ops("square", tensor), **options))
    if ord == 1:
        return ops("sum", ops("abs", tensor), **options)
    powers = ops("power", ops("abs", tensor), float(ord))
    return ops("power", ops("sum", powers, **options), 1 / ord)


@translates("sort")
def sort(trace: Trace, values: Any, axis: int = -1) -> Expression:
    return ops("sort", values, axis=axis)


@translates("math.top_k")
def top_k(trace: Trace, input: Any, k: Any = 1) -> Expression:
    return ops("top_k", input, int(k.constant) if is_constant(k) else k)


@translates("math.unsorted_segment_sum")
def segment_sum(trace: Trace, data: Any, segment_ids: Any, num_segments: Any) -> Expression:
    return ops("segment_sum", data, segment_ids, num_segments)


def is_constant(item: Any) -> bool:
    """Whether a traced value is known now."""
    return isinstance(item, Traced) and item.constant is not None


# Products -----------------------------------------------------------------------------------------


@translates("matmul")
def matmul(
    trace: Trace, a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False
) -> Expression:
    first = ops("swapaxes", a, -1, -2) if transpose_a else a
    second = ops("swapaxes", b, -1, -2) if transpose_b else b
    return ops("matmul", first, second)


@translates("linalg.matvec")
def matvec(trace: Trace, a: Any, b: Any, transpose_a: bool = False) -> Expression:
    matrix = ops("swapaxes", a, -1, -2) if transpose_a else a
    return ops("squeeze", ops("matmul", matrix, ops("expand_dims", b, -1)), -1)


@translates("tensordot")
def tensordot(trace: Trace, a: Any, b: Any, axes: Any) -> Expression:
    return ops("tensordot", a, b, axes=axes)


@translates("einsum")
def einsum(trace: Trace, equation: str, inputs: Any) -> Expression:
    return ops("einsum", equation, *inputs)


# Axes and elements --------------------------------------------------------------------------------


@translates("reshape")
def reshape(trace: Trace, tensor: Any, shape: Any) -> Expression:
    return ops("reshape", tensor, tuple(shape))


@translates("transpose")
def transpose(trace: Trace, a: Any, perm: Any = None) -> Expression:
    return ops("transpose", a, None if perm is None else list(perm))


@translates("expand_dims")
def expand_dims(trace: Trace, input: Any, axis: Any) -> Expression:
    return ops("expand_dims", input, axis)


@translates("squeeze")
def squeeze(trace: Trace, input: Any, axis: Any = None) -> Expression:
    axes = axis if isinstance(axis, list | tuple) else [axis]
    return ops("squeeze", input, axes[0] if len(axes) == 1 else tuple(axes))


@translates("ensure_shape")
def ensure_shape(trace: Trace, x: Any, shape: Any) -> Any:
    return x


@translates("split")
def split(
    trace: Trace, value: Any, num_or_size_splits: Any, axis: int = 0, num: Any = None
) -> Expression:
    if isinstance(num_or_size_splits, int):
        return ops("split", value, num_or_size_splits, axis=axis)
    ends = np.cumsum(np.asarray(num_or_size_splits, object))[:-1]
    return ops("split", value, list(ends), axis=axis)


@translates("stack")
def stack(trace: Trace, values: Any, axis: int = 0) -> Expression:
    return ops("stack", list(values), axis=axis)


@translates("unstack")
def unstack(trace: Trace, value: Any, num: Any = None, axis: int = 0) -> Expression:
    return ops("unstack", value, num, axis=axis)


@translates("concat")
def concat(trace: Trace, values: Any, axis: int) -> Expression:
    return ops("concatenate", list(values), axis=axis)


@translates("tile")
def tile(trace: Trace, input: Any, multiples: Any) -> Expression:
    return ops("tile", input, list(multiples))


@translates("repeat")
def repeat(trace: Trace, input: Any, repeats: Any, axis: Any = None) -> Expression:
    return ops("repeat", input, repeats, axis=axis)


@translates("reverse")
def reverse(trace: Trace, tensor: Any, axis: Any) -> Expression:
    return ops("flip", tensor, axis=axis[0] if len(axis) == 1 else tuple(axis))


@translates("broadcast_to")
def broadcast_to(trace: Trace, input: Any, shape: Any) -> Expression:
    return ops("broadcast_to", input, tuple(shape))


@translates("fill")
def fill(trace: Trace, dims: Any, value: Any) -> Expression:
    return ops("full", tuple(dims), value, dtype=value.dtype.name)


@translates("zeros")
def zeros(trace: Trace, shape: Any, dtype: Any) -> Expression:
    return ops("zeros", tuple(shape), dtype.name)


@translates("range")
def arange(trace: Trace, start: Any, limit: Any = None, delta: Any = 1) -> Expression:
    ends = (start,) if limit is None else (start, limit)
    if delta != 1:
        ends = (0, start, delta) if limit is None else (start, limit, delta)
    return ops("arange", *ends, dtype="int32")


@translates("one_hot")
def one_hot(trace: Trace, indices: Any, depth: Any, dtype: Any) -> Expression:
    return ops("one_hot", indices, depth, dtype=dtype.name)


@translates("pad")
def pad(trace: Trace, tensor: Any, paddings: Any, constant_values: Any = 0) -> Expression:
    return padded(tensor, paddings, constant_values)


def padded(x: Any, paddings: Any, value: Any = 0) -> Any:
    """`x` itself where nothing is added."""
    pairs = [list(pair) for pair in paddings]
    if not any(isinstance(n, Traced) or n for pair in pairs for n in pair):
        return x
    return ops("pad", x, pairs, constant_values=value or None)


@translates("gather")
def gather(
    trace: Trace, params: Any, indices: Any, axis: Any = 0, batch_dims: int = 0
) -> Expression:
    if batch_dims == 0:
        return ops("take", params, indices, axis=axis)
    return Call("take_batched", (params, indices, axis % len(params.shape), batch_dims))


@translates("boolean_mask")
def boolean_mask(trace: Trace, tensor: Any, mask: Any) -> Expression:
    raise EmitError("how many elements it selects depends on their values, which JAX refuses")


@translates("bitwise.bitwise_and", "bitwise.bitwise_xor", "bitwise.right_shift")
def bitwise(trace: Trace, **_: Any) -> Expression:
    raise EmitError("it counts in 64 bits, which JAX does not")


@translates("slice")
def slices(trace: Trace, input_: Any, begin: Any, size: Any) -> Expression:
    keys = [
        slice(start if nonzero(start) else None, None if is_rest(count) else start + count)
        for start, count in zip(begin, size, strict=True)
    ]
    return Item(input_, tuple(keys))


def nonzero(item: Any) -> bool:
    return isinstance(item, Traced) or item != 0


def is_rest(item: Any) -> bool:
    """Whether a slice goes on to the end."""
    return not isinstance(item, Traced) and item == -1


@translates("strided_slice")
def strided_slice(
    trace: Trace,
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
    return Item(input_, tuple(keys))


@translates("scatter_nd")
def scatter_nd(trace: Trace, indices: Any, updates: Any, shape: Any) -> Expression:
    return ops("scatter", indices, updates, tuple(shape))


@translates("space_to_batch")
def space_to_batch(trace: Trace, input: Any, block_shape: Any, paddings: Any) -> Expression:
    return Call("space_to_batch", (input, list(block_shape), paddings))


@translates("batch_to_space")
def batch_to_space(trace: Trace, input: Any, block_shape: Any, crops: Any) -> Expression:
    return Call("batch_to_space", (input, list(block_shape), crops))


# Convolutions and poolings, channels last ---------------------------------------------------------


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
        trace: Trace,
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
def depthwise_conv2d(
    trace: Trace, input: Any, filter: Any, strides: Any, padding: Any
) -> Expression:
    x, left = explicit(input, padding)
    steps = spatial(strides, 2)
    return ops(
        "depthwise_conv", x, filter, strides=steps, padding=left, data_format="channels_last"
    )


def transposed(rank: int) -> Callable[..., Any]:
    def translate(
        trace: Trace, input: Any, filters: Any, output_shape: Any, strides: Any, padding: str
    ) -> Expression:
        made = tuple(list(output_shape)[1:-1])
        steps = tuple(list(strides)[1:-1])
        return Call("conv_transpose", (input, filters, steps, made, padding.lower()))

    return translate


for dimensions in (2, 3):
    translates(f"nn.conv{dimensions}d_transpose")(transposed(dimensions))


def pooling(function: str, rank: int) -> Callable[..., Any]:
    def translate(trace: Trace, input: Any, ksize: Any, strides: Any, padding: Any) -> Expression:
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
    trace: Trace,
    input: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    output_dtype: Any = None,
    include_batch_in_index: bool = False,
) -> Expression:
    return Call("max_pool_with_argmax", (input, tuple(ksize)))


@translates("image.extract_patches")
def extract_patches(
    trace: Trace, images: Any, sizes: Any, strides: Any, rates: Any, padding: str
) -> Expression:
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
def depth_to_space(trace: Trace, input: Any, block_size: int) -> Expression:
    return Call("depth_to_space", (input, block_size))


@translates("image.resize")
def resize(trace: Trace, images: Any, size: Any, method: str) -> Expression:
    if method != "nearest":
        raise EmitError(f"no layer map resizes by {method}")
    return Call("resize_nearest", (images, tuple(size)))


@translates("raw_ops.ResizeBilinear")
def resize_bilinear(
    trace: Trace, images: Any, size: Any, align_corners: bool, half_pixel_centers: bool
) -> Expression:
    if not align_corners or half_pixel_centers:
        raise EmitError("only images with aligned corners are resized by layer maps")
    return Call("resize_aligned", (images, tuple(size)))
