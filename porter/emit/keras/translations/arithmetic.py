"""Functions of each element, reductions over axes, and products of matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from porter.emit.keras.calls import infix, ops
from porter.emit.keras.translations.registry import translate_all, translates
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


SHORT: dict[str, Callable[..., Any]] = {
    "cast": lambda x, dtype: ops("cast", x, dtype.name),
    "math.squared_difference": lambda x, y: ops("square", infix("-", x, y)),
    "nn.leaky_relu": lambda features, alpha=0.2: ops("leaky_relu", features, alpha),
    "nn.bias_add": lambda value, bias: infix("+", value, bias),
    "nn.log_softmax": lambda logits, axis=-1: ops("log_softmax", logits, axis=axis),
    "argmax": lambda input, axis=None: ops("cast", ops("argmax", input, axis=axis), "int64"),
    "argmin": lambda input, axis=None: ops("cast", ops("argmin", input, axis=axis), "int64"),
    "sort": lambda values, axis=-1: ops("sort", values, axis=axis),
    "tensordot": lambda a, b, axes: ops("tensordot", a, b, axes=axes),
    "einsum": lambda equation, inputs: ops("einsum", equation, *inputs),
}
"""Translations of one expression."""


def same(function: str) -> Callable[..., Any]:
    return lambda **arguments: ops(function, *arguments.values())


def operation(symbol: str) -> Callable[..., Any]:
    return lambda x, y: infix(symbol, x, y)


translate_all({name: same(keras_name) for name, keras_name in SAME.items()})
translate_all({name: operation(symbol) for name, symbol in INFIX.items()})
translate_all(SHORT)


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


@translates("math.divide_no_nan")
def divide_no_nan(x: Any, y: Any) -> Expression:
    zero = ops("equal", y, 0.0)
    return ops("where", zero, 0.0, infix("/", x, ops("where", zero, 1.0, y)))


@translates("clip_by_value")
def clip_by_value(t: Any, clip_value_min: Any, clip_value_max: Any) -> Expression:
    return ops("minimum", ops("maximum", t, clip_value_min), clip_value_max)


@translates("add_n")
def add_n(inputs: Any) -> Any:
    total = inputs[0]
    for each in inputs[1:]:
        total = infix("+", total, each)
    return total


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
