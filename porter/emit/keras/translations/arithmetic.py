"""Functions of each element, reductions over axes, and products of matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from porter.emit.keras.calls import infix, ops
from porter.emit.keras.translations.registry import translates
from porter.emit.tracing.expression import Expression, Literal
from porter.emit.tracing.recorder import Symbol

SAME = {
    "abs": "abs",
    "cos": "cos",
    "exp": "exp",
    "expand_dims": "expand_dims",
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
    "math.unsorted_segment_sum": "segment_sum",
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
    "sin": "sin",
    "sqrt": "sqrt",
    "square": "square",
    "stop_gradient": "stop_gradient",
    "tanh": "tanh",
    "where": "where",
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
    return lambda **arguments: ops(function, *arguments.values())


def operation(symbol: str) -> Callable[..., Any]:
    return lambda x, y: infix(symbol, x, y)


for tensorflow_name, keras_name in SAME.items():
    translates(tensorflow_name)(same(keras_name))
for tensorflow_name, symbol in INFIX.items():
    translates(tensorflow_name)(operation(symbol))


@translates("constant")
def constant(value: Any, dtype: Any = None) -> Expression:
    array = np.asarray(value, None if dtype is None else dtype.as_numpy_dtype)
    return ops("array", array.tolist(), dtype=str(array.dtype))


def like(function: str) -> Callable[..., Any]:
    def translate(input: Symbol) -> Expression:
        # JAX takes no variable here.
        is_weight = isinstance(input.expression, Literal)
        return ops(function, ops("convert_to_tensor", input) if is_weight else input)

    return translate


for tensorflow_name in ("zeros_like", "ones_like"):
    translates(tensorflow_name)(like(tensorflow_name))


@translates("cast")
def cast(x: Any, dtype: Any) -> Expression:
    return ops("cast", x, dtype.name)


@translates("math.squared_difference")
def squared_difference(x: Any, y: Any) -> Expression:
    return ops("square", infix("-", x, y))


@translates("math.divide_no_nan")
def divide_no_nan(x: Any, y: Any) -> Expression:
    zero = ops("equal", y, 0.0)
    return ops("where", zero, 0.0, infix("/", x, ops("where", zero, 1.0, y)))


@translates("nn.leaky_relu")
def leaky_relu(features: Any, alpha: float = 0.2) -> Expression:
    return ops("leaky_relu", features, alpha)


@translates("clip_by_value")
def clip_by_value(t: Any, clip_value_min: Any, clip_value_max: Any) -> Expression:
    return ops("minimum", ops("maximum", t, clip_value_min), clip_value_max)


@translates("add_n")
def add_n(inputs: Any) -> Any:
    total = inputs[0]
    for each in inputs[1:]:
        total = infix("+", total, each)
    return total


@translates("nn.bias_add")
def bias_add(value: Any, bias: Any) -> Expression:
    return infix("+", value, bias)


@translates("nn.log_softmax")
def log_softmax(logits: Any, axis: int = -1) -> Expression:
    return ops("log_softmax", logits, axis=axis)


def reduction(function: str) -> Callable[..., Any]:
    def translate(input_tensor: Any, axis: Any = None, keepdims: bool = False) -> Expression:
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
def argmax(input: Any, axis: Any = None) -> Expression:
    return ops("cast", ops("argmax", input, axis=axis), "int64")


@translates("argmin")
def argmin(input: Any, axis: Any = None) -> Expression:
    return ops("cast", ops("argmin", input, axis=axis), "int64")


@translates("norm")
def norm(
    tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: bool = False
) -> Expression:
    options = {"axis": axis, "keepdims": keepdims or None}
    if ord in ("euclidean", 2):
        return ops("sqrt", ops("sum", ops("square", tensor), **options))
    if ord == 1:
        return ops("sum", ops("abs", tensor), **options)
    powers = ops("power", ops("abs", tensor), float(ord))
    return ops("power", ops("sum", powers, **options), 1 / ord)


@translates("sort")
def sort(values: Any, axis: int = -1) -> Expression:
    return ops("sort", values, axis=axis)


@translates("math.top_k")
def top_k(input: Any, k: Any = 1) -> Expression:
    return ops("top_k", input, int(k.value) if isinstance(k, Symbol) and k.value is not None else k)


@translates("matmul")
def matmul(a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False) -> Expression:
    first = ops("swapaxes", a, -1, -2) if transpose_a else a
    second = ops("swapaxes", b, -1, -2) if transpose_b else b
    return ops("matmul", first, second)


@translates("linalg.matvec")
def matvec(a: Any, b: Any, transpose_a: bool = False) -> Expression:
    matrix = ops("swapaxes", a, -1, -2) if transpose_a else a
    return ops("squeeze", ops("matmul", matrix, ops("expand_dims", b, -1)), -1)


@translates("tensordot")
def tensordot(a: Any, b: Any, axes: Any) -> Expression:
    return ops("tensordot", a, b, axes=axes)


@translates("einsum")
def einsum(equation: str, inputs: Any) -> Expression:
    return ops("einsum", equation, *inputs)
