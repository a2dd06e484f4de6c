"""Modules that pass on their input, or the output of one module inside.

Source: torch/nn Contiguous.lua, Copy.lua, Convert.lua, DontCast.lua, GPU.lua,
Profile.lua, PrintSize.lua, NaN.lua (some first in dpnn), dpnn Serial.lua; cunn
DataParallelTable.lua; fbcunn DataParallel.lua, AbstractParallel.lua; waifu2x GradWeight.lua,
AuxiliaryLossTable.lua, ShakeShakeTable.lua.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from porter.layer_maps.axes import Squeeze, Transpose, Unsqueeze
from porter.layer_maps.composites import inside
from porter.layer_maps.containers import one_tensor
from porter.layer_maps.gradients import with_gradient_of
from porter.layer_maps.indexing import Select
from porter.layer_maps.shape import Collapse
from porter.layer_maps.table import table
from porter.maps import (
    FLOAT,
    INT,
    Accepts,
    Array,
    BadField,
    BadTable,
    LayerMap,
    LuaFunction,
    Nested,
    OpContext,
    Options,
    Shape,
    ShapeMismatch,
    Skippable,
    Tensor,
    TensorType,
    TorchObject,
    Types,
    Value,
    Walk,
    number,
    raw,
    register,
    structure,
)

# One module inside --------------------------------------------------------------------------------


@structure("nn.GPU", "nn.Serial", "nn.Profile", "nn.NaN")
def wrapper(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The output of the module inside; devices, timers and NaN checks are dropped."""
    return walk(inside(walk, module), x, at="1")


@structure("nn.DontCast")
def dont_cast(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The output of the module inside, which keeps its tensor type; types are dropped.

    Copies are not: with `castout` Torch copies the output into one of its own, and with `castin`
    an input of another type than the module's (nn DontCast.lua).
    """
    outer, inner = module.get("output"), module.get("moduleType")
    if module.boolean("castin", False) and not (
        isinstance(outer, Tensor) and outer.typename == inner
    ):
        x = walk.copied(x, "input")
    output = walk(inside(walk, module), x, at="1")
    return walk.copied(output) if module.boolean("castout", False) else output


@structure("nn.DataParallelTable", note="the first replica, on the whole batch")
def data_parallel_table(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The output of one replica on the whole batch; Torch gives each GPU its share.

    Shares are copied to the GPUs, and what comes back into tensors that are its own.
    """
    walk.note("the first replica, on the whole batch")
    return walk.copied(walk(inside(walk, module), walk.copied(x, "input"), at="1"))


@structure("nn.DataParallel", note="the first replica, on the whole batch")
def data_parallel(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The same in fbcunn: the share of the container's own GPU is a view of the input."""
    walk.note("the first replica, on the whole batch")
    return walk.copied(walk(inside(walk, module), x, at="1"))


# The input itself ---------------------------------------------------------------------------------


@structure("nn.PrintSize", note="identity; prints in Torch")
def print_size(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The very same tensor or table."""
    walk.note("identity: prints sizes in Torch")
    return x


class Passing(LayerMap, Skippable):
    """x as it is, in evaluation."""

    accepts = Accepts.ELEMENTWISE

    def reference(self, x: Array) -> Array:
        return x.copy()

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return x

    def is_identity(self) -> bool:
        return True


class Same(Passing):
    """x, in memory of its own."""


@register("nn.Contiguous")
class Contiguous(Passing):
    """x itself, or a copy if it is not contiguous."""

    is_view = True
    copies_scattered: ClassVar[bool] = True
    copies_to_output: ClassVar[bool] = True


@register("w2nn.GradWeight", note="a copy; scales gradients only")
class GradWeight(Passing):
    """A copy of x; its gradients are scaled by `weight`."""

    weight = number("weight", 1.0)

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        return with_gradient_of(tf, x, tf.multiply(x, self.weight))

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        return self.with_notes("identity: scales gradients only")


class Cast(LayerMap):
    """A copy of x as numbers of another kind; fractions are cut off."""

    dtype = raw("dtype")
    accepts = Accepts.ELEMENTWISE

    def output_types(self, *inputs: TensorType) -> Types:
        return (TensorType(inputs[0].shape, self.dtype),)

    def reference(self, x: Array) -> Array:
        if self.dtype == INT:
            return x.astype(np.int64)
        return x.astype(np.float64) if np.issubdtype(x.dtype, np.integer) else x.copy()

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.cast(x, tf.int64 if self.dtype == INT else at.dtype)


FLOATING = ("Float", "Double", "Half", "Cuda")
"""How the names of tensor types with fractions start; torch.CudaTensor is one of floats."""


def is_floating(typename: str) -> bool:
    """Whether a tensor type holds fractions."""
    kind = typename.removeprefix("torch.").removesuffix("Tensor")
    return kind in FLOATING or kind.removeprefix("Cuda") in FLOATING


@structure("nn.Copy")
def copy(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """A copy in another tensor type; with equal types, where Torch saves a function, x itself."""
    source = one_tensor(module, x)
    if isinstance(module.get("updateOutput"), LuaFunction):
        return source
    output = module.get("output")
    whole = isinstance(output, Tensor) and not is_floating(output.typename)
    dtype = INT if whole else FLOAT
    return walk.emit(Same() if dtype == source.dtype else Cast(dtype=dtype), source)


@structure("nn.Convert")
def convert(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """From one order of named axes to another: "bchw" to "bhwc", or to "bf", "b" or "bt".

    An input of fewer dimensions is one sample: a batch of one is added, and removed afterwards.
    """
    before, after = module.string("inputShape"), module.string("outputShape")
    tensor = one_tensor(module, x)
    if before == after:
        return tensor
    if min(before.count("b"), after.count("b")) != 1 or len(set(before)) < len(before):
        raise BadField(f"{module.typename} cannot convert {before} to {after}")
    single = tensor.type.rank < len(before)
    if single:
        tensor = moved(walk, Unsqueeze(position=before.index("b") + 1), tensor)
    if tensor.type.rank != len(before):
        raise ShapeMismatch(f"{module.typename} takes {before}", received=str(tensor.type))
    output = converted(walk, module, tensor, before, after)
    if single and output.type.rank > 1:
        output = moved(walk, Squeeze(dimension=after.index("b") + 1), output)
    return output


def moved(walk: Walk, op: LayerMap, x: Value) -> Value:
    """The one output of a map."""
    (output,) = walk.run(op, x)
    return output


def converted(walk: Walk, module: TorchObject, x: Value, before: str, after: str) -> Value:
    """A batch in another order of axes, flattened, or without its last axis."""
    batch = before.index("b") + 1
    if sorted(before) == sorted(after):
        return moved(walk, Transpose(swaps=swaps(before, after)), x)
    if after == "bf" and len(before) == 1:
        return moved(walk, Unsqueeze(position=2), x)
    if after == "bf" and before != "bt":
        first = x if batch == 1 else moved(walk, Transpose(swaps=((1, batch),)), x)
        return first if len(before) == 2 else moved(walk, Collapse(sample_rank=1), first)
    if after == "bt" and before == "b":
        return moved(walk, Unsqueeze(position=2), x)
    if after == "b" and before in ("bt", "tb", "bf", "fb"):
        other = 3 - batch
        if "f" in before and x.shape[other - 1] != 1:
            raise ShapeMismatch(
                f"{module.typename} makes b of {before} with one feature", received=str(x.type)
            )
        return moved(walk, Select(dimension=other, index=1), x)
    raise BadField(f"{module.typename} cannot convert {before} to {after}")


def swaps(before: str, after: str) -> tuple[tuple[int, int], ...]:
    """Pairs of 1-based dimensions which, swapped in turn, bring the axes in order."""
    axes, pairs = list(before), []
    for place, letter in enumerate(after):
        found = axes.index(letter)
        if found != place:
            axes[place], axes[found] = axes[found], axes[place]
            pairs.append((place + 1, found + 1))
    return tuple(pairs)


# waifu2x ------------------------------------------------------------------------------------------


@structure("w2nn.AuxiliaryLossTable", note="entry `i`, also if saved in training mode")
def auxiliary_loss_table(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """A copy of entry `i`; in training, the whole table."""
    entries, position = table(module, x), module.integer("i", 1)
    if not 1 <= position <= len(entries):
        raise BadTable(f"{module.typename} picks entry {position}", received=f"{len(entries)}")
    if module.get("train") is True:
        walk.note("saved in training mode, run in evaluation")
    return walk.emit(Same(), one_tensor(module, entries[position - 1]))


@register("w2nn.ShakeShakeTable", note="a sum, also if saved in training mode")
class ShakeShakeTable(LayerMap):
    """Sum of two branches; in training they are weighted at random."""

    accepts = Accepts.ELEMENTWISE

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        if module.get("train") is not True:
            return self
        return self.with_notes("saved in training mode, run in evaluation")

    def output_shape(self, x: Shape, y: Shape) -> Shape:
        self.require(x == y, "adds two tensors of one shape", x, y)
        return x

    def reference(self, x: Array, y: Array) -> Array:
        return x + y

    def apply(self, tf: Any, x: Any, y: Any, at: OpContext) -> Any:
        return tf.add(x, y)
