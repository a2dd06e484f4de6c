"""Normalisation of single samples, of colours, and of weights.

Source: torch/nn Normalize.lua, LayerNormalization.lua, WeightNorm.lua, LinearWeightNorm.lua; dpnn
SpatialFeatNormalization.lua; MemNN EntNet-babi/layers/Normalization.lua.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from porter.layer_maps.batch_normalization import along
from porter.layer_maps.containers import one_tensor, sequential
from porter.maps import (
    Accepts,
    Array,
    BadField,
    BadTable,
    DerivedParam,
    DerivedTensor,
    HintsInput,
    LayerMap,
    Layouts,
    Nested,
    OpContext,
    Shape,
    Storage,
    Tensor,
    TensorType,
    TorchObject,
    Types,
    Value,
    Walk,
    as_param,
    number,
    param,
    read_sizes,
    register,
    structure,
)


@register("nn.Normalize")
class Normalize(LayerMap):
    """x / (sum of |x|^p + eps)^(1/p) over the features of N×F or F.

    For p = inf the divisor is max |x| + eps. The order of the features does not matter,
    so they may come flattened channels-last.
    """

    p = number("p")
    eps = number("eps", 1e-10)

    def output_shape(self, x: Shape) -> Shape:
        self.require(self.p > 0, "takes a norm p above 0", self.p)
        self.require(len(x) in (1, 2), "takes N×F or F", x)
        return x

    def reference(self, x: Array) -> Array:
        size = np.abs(x)
        if math.isinf(self.p):
            norm = size.max(axis=-1, keepdims=True) + self.eps
        else:
            norm = ((size**self.p).sum(axis=-1, keepdims=True) + self.eps) ** (1 / self.p)
        out: Array = x / norm
        return out

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        features = at.axis(-1)
        if math.isinf(self.p):
            largest = tf.reduce_max(tf.abs(x), axis=features, keepdims=True)
            return tf.divide(x, tf.add(largest, self.eps))
        if self.p == 2:
            powers = tf.square(x)
        else:
            powers = tf.abs(x) if self.p == 1 else tf.pow(tf.abs(x), self.p)
        total = tf.add(tf.reduce_sum(powers, axis=features, keepdims=True), self.eps)
        if self.p == 2:
            return tf.multiply(x, tf.math.rsqrt(total))
        return tf.divide(x, total if self.p == 1 else tf.pow(total, 1 / self.p))

    def layouts(self, available: Layouts, inputs: Types, outputs: Types) -> tuple[Layouts, Layouts]:
        return available, available


@register("nn.Normalization")
class UnitLength(LayerMap):
    """x / √(Σ x²), the sum over the last dimension; where that is at most `thresh`, x/(thresh + 1).

    MemNN's EntNet. Old files have no `thresh`: it is 0.
    """

    threshold = number("thresh", 0.0)

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) > 0, "takes a tensor with elements", x)
        return x

    def reference(self, x: Array) -> Array:
        norms = np.sqrt(np.square(x).sum(axis=-1, keepdims=True))
        out: Array = x / np.where(norms <= self.threshold, self.threshold + 1, norms)
        return out

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        norms = tf.sqrt(tf.reduce_sum(tf.square(x), axis=-1, keepdims=True))
        least = tf.constant(self.threshold, at.dtype)
        return tf.divide(x, tf.where(tf.less_equal(norms, least), tf.add(least, 1), norms))


@register("nn.SpatialFeatNormalization")
class SpatialFeatNormalization(LayerMap, HintsInput):
    """(x - mean) / std for each plane of N×C×H×W or C×H×W, with fixed numbers."""

    mean = param("C", trainable=False)
    std = param("C", trainable=False)
    accepts = Accepts.ANY_ORDER

    def output_shape(self, x: Shape) -> Shape:
        planes = self.mean.shape[0]
        self.require(len(x) in (3, 4), "takes N×C×H×W or C×H×W", x)
        self.require(x[-3] == planes, f"takes {planes} feature planes", x)
        return x

    def reference(self, x: Array) -> Array:
        return (x - self.mean.array[:, None, None]) / self.std.array[:, None, None]

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        rank, planes = at.inputs[0].rank, at.axis(-3)
        shifted = tf.subtract(x, along(tf, at.variable(self.mean), planes, rank))
        return tf.divide(shifted, along(tf, at.variable(self.std), planes, rank))

    def input_hint(self) -> TensorType:
        return TensorType((None, self.mean.shape[0], None, None))


@structure("nn.LayerNormalization")
def layer_normalization(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """A container of the modules that subtract the mean, normalise, scale and shift N×F."""
    return sequential(walk, module, x)


@structure("nn.WeightNorm")
def weight_norm(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The module inside, with the weight g · v / sqrt(|v|² + 1e-4) for each of its outputs.

    Files hold no weight: Torch computes it at every call. v and g have the outputs (dimension
    `outputDim` of the weight) first, v the other dimensions flattened after them; `viewOut` is the
    weight's shape with the outputs first.
    """
    children = walk.children(module)
    if len(children) != 1:
        raise BadTable("nn.WeightNorm should hold one module", received=f"{len(children)}")
    shape = read_sizes(module, "viewOut")
    axis = module.integer("outputDim", 1) - 1
    if not 0 <= axis < len(shape):
        raise BadField(
            f"'outputDim' of nn.WeightNorm should be 1…{len(shape)}", received=f"{axis + 1}"
        )
    weight = scaled_rows(module, epsilon=1e-4)
    if weight.size != math.prod(shape):
        raise BadField(
            f"'v' of nn.WeightNorm should have {math.prod(shape)} elements",
            received=f"{weight.size}",
        )
    weight = np.moveaxis(weight.reshape(shape), 0, axis)
    order = [1 + a if a < axis else 0 if a == axis else a for a in range(len(shape))]

    def arrange(tf: Any, rows: Any) -> Any:
        return tf.transpose(tf.reshape(rows, list(shape)), order)

    walk.note("weight computed from v and g")
    derived = normalised(walk.path, module, 1e-4, arrange)
    output = walk(with_weight(children[0], weight, module.tensor("v"), derived), x, at="1")
    return walk.set_output(one_tensor(module, output))


@structure("nn.LinearWeightNorm")
def linear_weight_norm(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """nn.Linear with the weight g · v / |v| for each output.

    Torch stores the product in `weight` and recomputes it if that is `dirty` or in training;
    clearState() empties it.
    """
    linear = replace(module, typename="nn.Linear")
    stale = module.boolean("dirty") or module.boolean("train")
    saved = module.optional_tensor("weight")
    if stale or saved is None:
        walk.note("weight computed from v and g")
    weight = scaled_rows(module, epsilon=0.0) if stale or saved is None else saved.array
    derived = normalised(walk.path, module, 0.0, lambda tf, rows: rows)
    linear = with_weight(linear, weight, module.tensor("v"), derived)
    return walk.call_layer(linear, x)


def scaled_rows(module: TorchObject, epsilon: float) -> Array:
    """Row i of `v`, scaled to length g[i]."""
    v, g = module.tensor("v").array, module.tensor("g").array
    if v.ndim != 2 or g.size != v.shape[0]:
        raise BadField(
            f"'v' and 'g' of {module.typename} should have as many rows",
            received=f"{'×'.join(map(str, v.shape))} and {g.size}",
        )
    rows = v.astype(np.float64)
    length = np.sqrt(np.square(rows).sum(axis=1, keepdims=True) + epsilon)
    scaled: Array = rows * (g.reshape(-1, 1) / length)
    return scaled.astype(v.dtype)


def normalised(
    path: str, module: TorchObject, epsilon: float, arrange: Callable[[Any, Any], Any]
) -> DerivedParam:
    """The same at every call, from the variables of `v` (O×F) and `g`."""

    def compute(tf: Any, v: Any, g: Any) -> Any:
        squares = tf.reduce_sum(tf.square(v), axis=1, keepdims=True)
        return tf.multiply(v, tf.divide(tf.reshape(g, [-1, 1]), tf.sqrt(tf.add(squares, epsilon))))

    g = module.tensor("g")
    sources = as_param("v", module.tensor("v"), "OF"), as_param("g", g, "OF"[: len(g.shape)])
    return DerivedParam(path, sources, compute, arrange)


def with_weight(
    module: TorchObject, weight: Array, source: Tensor, derived: DerivedParam
) -> TorchObject:
    """A copy of a module with a weight that was computed from `source`, another of its tensors."""
    flat = np.ascontiguousarray(weight).ravel()
    # No object of a file has a negative index: the memory is new, and the same at every walk.
    storage = Storage(source.typename.replace("Tensor", "Storage"), flat, -source.index, 0)
    strides = tuple(math.prod(weight.shape[axis + 1 :]) for axis in range(weight.ndim))
    tensor = DerivedTensor(
        source.typename, weight.shape, strides, 0, storage, -source.index, flat.dtype, derived
    )
    return replace(module, fields={**module.fields, "weight": tensor})
