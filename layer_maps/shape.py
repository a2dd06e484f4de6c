"""Modules that hand on the same elements in another shape.

Source: torch/nn Identity.lua, View.lua, Reshape.lua, Collapse.lua.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from porter.maps import (
    Array,
    BadField,
    Field,
    HasKerasLayer,
    HintsInput,
    LayerMap,
    Layouts,
    Nested,
    NotDynamic,
    OpContext,
    Shape,
    TensorType,
    TorchObject,
    Types,
    Value,
    Walk,
    flattened,
    integer,
    optional_integer,
    register,
    regrouped,
    size,
    sizes,
    structure,
    torch_order,
)


@structure("nn.Identity")
def identity(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The very same tensor (or table), memory shared."""
    return x


class Reshaping(LayerMap, HasKerasLayer):
    """The same elements in the same Torch order, in another shape.

    Flattening an image that is stored channels-last moves nothing: the features are relabelled.
    Nor does merging or splitting axes that are stored side by side.
    """

    is_view = True
    regroups = True
    infers_batch = True
    """Whether a batch may become longer or shorter; else the elements must fit its own length."""

    def leading(self, x: TensorType, output: TensorType) -> int:
        """The number of the input's axes that form the output's first, where that is certain."""
        return 0

    def reference(self, x: Array) -> Array:
        return np.reshape(x, self.output_shape(x.shape))

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.reshape(x, self.target(tf, x, at))

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        before, output = (
            [type.shape[axis] for axis in layout.order]
            for type, layout in (
                (at.inputs[0], at.layouts[0]),
                (at.outputs[0], at.output_layouts[0]),
            )
        )
        sizes = [before[1:], output[1:]]
        if before[:1] != output[:1] or any(None in each for each in sizes):
            return None
        if math.prod(sizes[0]) != math.prod(sizes[1]):  # type: ignore[arg-type]
            return None
        return k("Reshape", x, target_shape=tuple(output[1:]))

    def target(self, tf: Any, x: Any, at: OpContext) -> list[Any]:
        """The output's sizes in stored order; at most one is left to be inferred."""
        output = at.outputs[0]
        target: list[Any] = list(output.shape)
        unknown = [axis for axis, extent in enumerate(target) if extent is None]
        merged = self.leading(at.inputs[0], output)
        if unknown[:1] == [0] and merged and (len(unknown) > 1 or not self.infers_batch):
            target[0] = size(tf, x, at.axis(0))
            for axis in range(1, merged):
                target[0] = tf.multiply(target[0], size(tf, x, at.axis(axis)))
            unknown = unknown[1:]
        if len(unknown) > 1:
            raise NotDynamic(f"a reshape to {output} has more than one free size")
        if unknown:
            target[unknown[0]] = -1
        return [target[axis] for axis in at.output_layouts[0].order]

    def layouts(self, available: Layouts, inputs: Types, outputs: Types) -> tuple[Layouts, Layouts]:
        merged = self.leading(inputs[0], outputs[0])
        output = flattened(available[0], inputs[0], outputs[0]) or regrouped(
            available[0], inputs[0], outputs[0], first=(merged, int(merged > 0))
        )
        if output is not None:
            return available, (output,)
        return (torch_order(inputs[0].rank),), (torch_order(outputs[0].rank),)


class Sized(Reshaping, HintsInput):
    """A reshape to `size`, a list of sizes of which one may be -1: whatever is left."""

    size = sizes("size")

    def checked(self) -> LayerMap:
        size = self.size
        if not size or min(size) < -1 or 0 in size or size.count(-1) > 1:
            raise BadField(
                f"'size' of {self.typename} should be positive sizes, one of them perhaps -1",
                received=str(size),
            )
        return self

    @property
    def fixed_elements(self) -> int:
        """The product of the known sizes."""
        return math.prod(extent for extent in self.size if extent != -1)

    def input_hint(self) -> TensorType | None:
        """N×C where samples become C×1×1: the noise of generators is fed as vectors."""
        planes = max(self.size)
        return (
            TensorType((None, planes))
            if len(self.size) > 1 and planes == self.fixed_elements > 1
            else None
        )

    def filled(self, batch: Shape, x: Shape) -> Shape:
        """`batch` and `size` with -1 replaced by the size that remains for the elements of `x`."""
        each = math.prod(batch) * self.fixed_elements
        left, rest = divmod(math.prod(x), each)
        fits = rest == 0 and (left == 1 or -1 in self.size)
        self.require(fits, f"makes {'×'.join(map(str, (*batch, *self.size)))}", x)
        return (*batch, *(left if extent == -1 else extent for extent in self.size))


@register("nn.View")
class View(Sized):
    """The same memory in the shape `size`, where one entry may be -1.

    The last `numInputDims` dimensions (all, if it is nil) are the sample: the dimensions before it
    are merged into one batch, and so is what the sample has more of than `size`, unless -1
    absorbs it. A batch of one is dropped, except where the input has more than `numInputDims`
    dimensions.
    """

    sample_rank = optional_integer("numInputDims")

    def input_hint(self) -> TensorType | None:
        """A batch of as many dimensions as a sample has, where vectors and matrices are told so."""
        if self.sample_rank == 1 and -1 not in self.size:
            return TensorType((None, self.fixed_elements))
        if self.sample_rank in (1, 2):
            return TensorType((None,) * (self.sample_rank + 1))
        return super().input_hint()

    def output_shape(self, x: Shape) -> Shape:
        sample = len(x) if self.sample_rank is None else self.sample_rank
        self.require(0 <= sample <= len(x), f"takes at least {sample} dimensions", x)
        elements = math.prod(x[len(x) - sample :])
        self.require(
            elements % self.fixed_elements == 0,
            f"makes multiples of {self.fixed_elements} elements",
            x,
        )
        batch = math.prod(x[: len(x) - sample])
        if -1 not in self.size:
            batch *= elements // self.fixed_elements
        dropped = batch == 1 and (self.sample_rank is None or len(x) <= self.sample_rank)
        return self.filled(() if dropped else (batch,), x)

    def leading(self, x: TensorType, output: TensorType) -> int:
        if self.sample_rank is None or -1 not in self.size:
            return 0
        return x.rank - self.sample_rank


@register("nn.Reshape")
class Reshape(Sized):
    """`size`, or first dimension × `size`; the memory is copied where it is not contiguous.

    `batchMode` true keeps the first dimension, false does not. Where it is nil, the first
    dimension is kept unless the input has just the elements of `size` and a first dimension other
    than 1.
    """

    batch_mode: Field[bool | None] = Field(
        lambda module: module.boolean("batchMode") if "batchMode" in module else None, None
    )
    copies_scattered = True
    infers_batch = False

    def output_shape(self, x: Shape) -> Shape:
        whole = math.prod(x) == math.prod(self.size) and x[0] != 1
        if self.batch_mode is False or (self.batch_mode is None and whole):
            return self.filled((), x)
        return self.filled(x[:1], x)

    def leading(self, x: TensorType, output: TensorType) -> int:
        return int(output.rank > len(self.size))


@register("nn.Collapse")
class Collapse(Reshaping):
    """All dimensions but the batch in one; without more than `nInputDim` dimensions, just all."""

    sample_rank = integer("nInputDim")
    copies_scattered = True

    def output_shape(self, x: Shape) -> Shape:
        if len(x) > self.sample_rank:
            return (x[0], math.prod(x[1:]))
        return (math.prod(x),)

    def leading(self, x: TensorType, output: TensorType) -> int:
        return int(x.rank > self.sample_rank)
