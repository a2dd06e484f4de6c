"""Addition of and multiplication with learned or constant tensors.

Source: torch/nn Add.lua, Mul.lua, CAdd.lua, CMul.lua, AddConstant.lua; dpnn Constant.lua.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from porter.maps import (
    FLOAT,
    POINTWISE,
    Accepts,
    Array,
    BadField,
    Field,
    HasReach,
    HintsInput,
    LayerMap,
    Layouts,
    NotDynamic,
    OpContext,
    Options,
    Param,
    Reach,
    Shape,
    ShiftsIndices,
    Tensor,
    TensorType,
    TorchObject,
    Types,
    as_param,
    flag,
    optional_integer,
    param,
    register,
    size,
    torch_order,
)

AXES = "ABCDEFGH"
"""Names of the axes of tensors of any rank."""

Extents = tuple[int | None, ...]


def any_rank_param(lua_name: str, trainable: bool = True) -> Field[Param]:
    """A tensor field with any number of dimensions."""

    def read(module: TorchObject) -> Param:
        tensor = module.tensor(lua_name)
        return as_param(lua_name, tensor, AXES[: len(tensor.shape)], trainable=trainable)

    return Field(read)


def spread(at: OpContext, tensor: Param, shape: Shape) -> Any:
    """A variable shaped to broadcast against the first input as it is stored.

    `shape` is how Torch sees `tensor` beside its input: as many axes, each as long or of size 1.
    """
    layout = at.layouts[0]
    axes = AXES[: len(shape)]
    array = tensor.array.reshape(shape)
    if at.flat_rows is not None and shape[-1] > 1:
        array = array[..., list(at.flat_rows)]
    stored = "".join(axes[axis] for axis in layout.order)
    return at.variable(tensor.with_array(array, axes, stored, tag=f"beside {layout}"))


def fixed(shape: Extents) -> Shape:
    """`shape` where no size is left open."""
    return tuple(extent for extent in shape if extent is not None)


def count(shape: Extents) -> int | None:
    """The number of elements, None where a size is left open."""
    return None if None in shape else math.prod(fixed(shape))


class Componentwise(LayerMap, HasReach, HintsInput):
    """x combined with a tensor that is repeated over the batch."""

    accepts = Accepts.ELEMENTWISE

    def input_hint(self) -> TensorType | None:
        """Of an operand such as 1×C×1×1, of which sizes of one are free, or one of a whole sample.

        C×H×W is combined with samples of any shape of as many numbers, and made for its own. A
        vector leaves open how many axes there are.
        """
        own = self.operand.shape
        if own[:1] == (1,) and max(own) > 1:
            return TensorType((None, *(size if size > 1 else None for size in own[1:])))
        return TensorType((None, *own)) if len(own) > 1 and min(own) > 1 else None

    @property
    @abc.abstractmethod
    def operand(self) -> Param: ...

    def operand_shape(self, x: Extents) -> Shape | None:
        """The shape in which the operand is combined with `x`; None if it does not fit.

        With as many dimensions as `x` it is expanded. Otherwise it is one number, or it has as many
        elements as the whole input or as each sample.
        """
        own = self.operand.shape
        if len(own) == len(x) and all(a in (1, b) for a, b in zip(own, x, strict=True)):
            return own
        if math.prod(own) == count(x):
            return fixed(x)
        if len(own) == len(x):
            return None
        return (1,) * len(x) if math.prod(own) == 1 else self.for_each_sample(x)

    def reach(self, axis: int, inputs: Sequence[TensorType]) -> Reach | None:
        """Where the operand is the same for all rows, it is for some of them."""
        own = self.operand_shape(inputs[0].shape)
        return POINTWISE if own is not None and own[axis] == 1 else None

    def for_each_sample(self, x: Extents) -> Shape | None:
        """The shape of one sample, if the operand has as many elements."""
        fits = math.prod(self.operand.shape) == count(x[1:])
        return (1, *fixed(x[1:])) if fits else None

    def output_shape(self, x: Shape) -> Shape:
        fits = len(x) > 0 and self.operand_shape(x) is not None
        own = "×".join(map(str, self.operand.shape))
        self.require(fits, f"takes an input that {own} can be repeated over", x)
        return x

    def operand_like(self, x: Array) -> Array:
        shape = self.operand_shape(x.shape)
        assert shape is not None
        return self.operand.array.reshape(shape).astype(x.dtype)

    def variable(self, at: OpContext) -> Any:
        shape = self.operand_shape(at.inputs[0].shape)
        if shape is None:
            raise NotDynamic(f"{self.typename} counts elements of {at.inputs[0]}")
        return spread(at, self.operand, shape)


@register("nn.CMul")
class CMul(Componentwise):
    """x · weight, element by element. Per-channel weights are 1×C×1×1."""

    weight = any_rank_param("weight")

    @property
    def operand(self) -> Param:
        return self.weight

    def reference(self, x: Array) -> Array:
        return x * self.operand_like(x)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.multiply(x, self.variable(at))


@register("nn.CAdd")
class CAdd(Componentwise):
    """x + bias, element by element. Per-channel biases are 1×C×1×1."""

    bias = any_rank_param("bias")

    @property
    def operand(self) -> Param:
        return self.bias

    def reference(self, x: Array) -> Array:
        return x + self.operand_like(x)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.add(x, self.variable(at))


@register("nn.Add")
class Add(Componentwise):
    """x + bias: one number (`scalar`), or as many as each sample has elements."""

    bias = any_rank_param("bias")
    scalar = flag("scalar")

    @property
    def operand(self) -> Param:
        if not self.scalar or self.bias.array.size == 1:
            return self.bias
        return self.bias.with_array(self.bias.array.reshape(-1)[:1], "A", tag="first")

    def operand_shape(self, x: Extents) -> Shape | None:
        if self.scalar:
            return (1,) * len(x)
        return fixed(x) if self.bias.shape == x else self.for_each_sample(x)

    def reference(self, x: Array) -> Array:
        return x + self.operand_like(x)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.add(x, self.variable(at))


@register("nn.Mul")
class Mul(LayerMap):
    """x times one learned number."""

    weight = param("O")
    accepts = Accepts.ELEMENTWISE

    def reference(self, x: Array) -> Array:
        factor: Array = self.weight.array[:1].astype(x.dtype)
        return x * factor

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.multiply(x, at.variable(self.weight))


def number_or_vector(lua_name: str) -> Field[float | Param]:
    """A Lua number, or a vector."""

    def read(module: TorchObject) -> float | Param:
        if isinstance(module.get(lua_name), Tensor):
            return as_param(lua_name, module.tensor(lua_name), "A", trainable=False)
        return module.number(lua_name)

    return Field(read)


@register("nn.AddConstant")
class AddConstant(LayerMap, ShiftsIndices):
    """x + constant_scalar: a number, or a vector along the last of at most two dimensions."""

    constant = number_or_vector("constant_scalar")
    inplace = flag("inplace")
    accepts = Accepts.ELEMENTWISE

    def output_shape(self, x: Shape) -> Shape:
        if isinstance(self.constant, Param):
            (width,) = self.constant.shape
            self.require(len(x) in (1, 2) and x[-1] == width, f"takes N×{width} or {width}", x)
        return x

    def shift(self) -> int | None:
        if isinstance(self.constant, Param) or self.constant % 1:
            return None
        return int(self.constant)

    def reference(self, x: Array) -> Array:
        added: Any = self.constant
        if isinstance(added, Param):
            added = added.array.astype(x.dtype)
        out: Array = x + added
        return out

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        if isinstance(self.constant, Param):
            shape = (1,) * (at.inputs[0].rank - 1) + self.constant.shape
            return tf.add(x, spread(at, self.constant, shape))
        return tf.add(x, self.constant)


@register("nn.Constant")
class Constant(LayerMap):
    """`value`, whatever the input; once for each sample if the input has > nInputDim dimensions."""

    value = any_rank_param("value", trainable=False)
    sample_rank = optional_integer("nInputDim")

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        if not isinstance(module.get("value"), Tensor):
            raise BadField(f"'value' of {module.typename} should be a tensor")
        return self

    def batched(self, rank: int) -> bool:
        return self.sample_rank is not None and rank > self.sample_rank

    def output_types(self, *inputs: TensorType) -> Types:
        (x,) = inputs
        batch = x.static[:1] if self.batched(x.rank) else ()
        return (TensorType((*batch, *self.value.shape), FLOAT),)

    def reference(self, x: Array) -> Array:
        value = self.value.array
        return np.stack([value] * len(x)) if self.batched(x.ndim) else value

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        value = tf.cast(at.variable(self.value), at.dtype)
        if not self.batched(at.inputs[0].rank):
            return value
        shape = [size(tf, x, at.axis(0)), *self.value.shape]
        return tf.broadcast_to(tf.expand_dims(value, 0), shape)

    def layouts(self, available: Layouts, inputs: Types, outputs: Types) -> tuple[Layouts, Layouts]:
        return available, (torch_order(outputs[0].rank),)
