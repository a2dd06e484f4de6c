"""Fully connected layers.

Source: torch/nn Linear.lua, PartialLinear.lua, Bilinear.lua; dpnn and rnn LinearNoBias.lua; fbnn
LinearNB.lua; dpnn Maxout.lua.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from porter.layer_maps.containers import sequential
from porter.maps import (
    Array,
    BadField,
    HasKerasLayer,
    HintsInput,
    HintsInputs,
    LayerMap,
    Layouts,
    LinearInPlanes,
    Nested,
    OpContext,
    Options,
    Shape,
    TensorType,
    TorchObject,
    Types,
    Value,
    Walk,
    as_param,
    optional_param,
    param,
    register,
    structure,
    torch_order,
)

MAX_ELEMENTS = 2**22
"""Elements of a weight that the reference converts to the input's precision at once."""


class FullyConnected(LayerMap, HasKerasLayer, HintsInput, LinearInPlanes):
    """y = W·x + b for x of N×I or I; `weight` is O×I.

    Accepts features that were flattened channels-last: the rows of the kernel are
    stored in that order, so that no data moves.
    """

    weight = param("OI", to="IO")
    bias = optional_param("O")

    def output_shape(self, x: Shape) -> Shape:
        outputs, inputs = self.weight.shape
        self.require(len(x) in (1, 2), "takes N×I or I", x)
        self.require(x[-1] == inputs, f"takes {inputs} features", x)
        return (*x[:-1], outputs)

    def reference(self, x: Array) -> Array:
        weight = self.weight.array
        # Row by row of blocks: a product converts what it multiplies, here the whole weight.
        rows = max(MAX_ELEMENTS // max(weight.shape[1], 1), 1)
        parts = [x @ weight[first : first + rows].T for first in range(0, len(weight), rows)]
        out: Array = np.concatenate(parts, axis=-1) if len(parts) > 1 else x @ weight.T
        return out if self.bias is None else out + self.bias.array

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        kernel = at.variable(self.weight, rows=at.flat_rows)
        batched = x if at.inputs[0].rank == 2 else tf.expand_dims(x, 0)
        out = tf.matmul(batched, kernel)
        if self.bias is not None:
            out = tf.nn.bias_add(out, at.variable(self.bias))
        return out if at.inputs[0].rank == 2 else tf.squeeze(out, 0)

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        if at.inputs[0].rank != 2:
            return None
        kernel = at.variable(self.weight, rows=at.flat_rows)
        return k(
            "Dense",
            x,
            weights=[kernel, self.bias and at.variable(self.bias)],
            units=self.weight.shape[0],
            use_bias=self.bias is not None,
        )

    def layouts(self, available: Layouts, inputs: Types, outputs: Types) -> tuple[Layouts, Layouts]:
        layout = torch_order(inputs[0].rank) if available[0].flat is None else available[0]
        return (layout,), (torch_order(outputs[0].rank),)

    def plane_axis(self, output: TensorType) -> int | None:
        return output.rank - 1

    def input_hint(self) -> TensorType:
        return TensorType((None, self.weight.shape[1]))


@register("nn.Linear", "nn.LinearNoBias", "nn.LinearNB")
class Linear(FullyConnected):
    """y = W·x + b."""


@register("nn.PartialLinear")
class PartialLinear(FullyConnected):
    """y = W·x + b with only those rows of W and b that `partition` lists (1-based, any order).

    Torch builds it from other modules, of which the nn.LookupTable holds all rows of W.
    """

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        rows = module.tensor("partition").array.reshape(-1).astype(np.int64) - 1
        every = as_param("weight", self.lookup_table(module).tensor("weight"), "OI", "IO")
        outputs = every.shape[0]
        if rows.min() < 0 or rows.max() >= outputs:
            raise BadField(
                f"'partition' of {self.typename} picks from {outputs} rows",
                received=f"{rows.min() + 1} to {rows.max() + 1}",
            )
        tag = f"rows {rows.tolist()}"
        op = self.evolve(weight=every.with_array(every.array[rows], "OI", "IO", tag), bias=None)
        bias = module.optional_tensor("bias")
        if bias is None:
            return op
        flat = as_param("bias", bias, "1O")
        if flat.array.size != outputs:
            raise BadField(f"'bias' of {self.typename} should have {outputs} elements")
        return op.evolve(bias=flat.with_array(flat.array.reshape(-1)[rows], "O", tag=tag))

    def lookup_table(self, module: TorchObject) -> TorchObject:
        """`network.modules[1].modules[2]`."""
        found = module.object("network")
        for position in (0, 1):
            children = found.list("modules")
            if len(children) <= position or not isinstance(children[position], TorchObject):
                raise BadField(f"'network' of {self.typename} is not as Torch builds it")
            found = children[position]
        return found


@register("nn.Bilinear")
class Bilinear(LayerMap, HintsInputs):
    """y_k = aᵀ·W_k·b + c_k for a of N×I and b of N×J; `weight` is O×I×J, `bias` is c."""

    weight = param("OIJ", to="IOJ")
    bias = optional_param("O")

    def input_hint_at(
        self, position: int, inputs: Sequence[TensorType | None]
    ) -> TensorType | None:
        return TensorType((None, self.weight.shape[1 + position]))

    def output_shape(self, a: Shape, b: Shape) -> Shape:
        outputs, first, second = self.weight.shape
        fits = len(a) == len(b) == 2 and a[0] == b[0] and (a[1], b[1]) == (first, second)
        self.require(fits, f"takes N×{first} and N×{second}", a, b)
        return (a[0], outputs)

    def reference(self, a: Array, b: Array) -> Array:
        columns = [np.sum(a @ matrix * b, axis=1) for matrix in self.weight.array]
        out = np.stack(columns, axis=1)
        return out if self.bias is None else out + self.bias.array

    def apply(self, tf: Any, a: Any, b: Any, at: OpContext) -> Any:
        products = tf.tensordot(a, at.variable(self.weight), axes=1)
        out = tf.linalg.matvec(products, b)
        return out if self.bias is None else tf.nn.bias_add(out, at.variable(self.bias))


@structure("nn.Maxout")
def maxout(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """Largest of k linear layers; it is saved as the nn.Sequential that computes it."""
    return sequential(walk, module, x)
