"""What detectors wrap around their parts: regions around regions, and boxes of their outputs.

Source: facebookresearch/multipathnet modules/ NoBackprop.lua, ModeSwitch.lua,
ModelParallelTable.lua, Foveal.lua, ContextRegion.lua, BBoxNorm.lua, ConvertFrom.lua,
SelectBoxes.lua, SequentialSplitBatch.lua; facebookresearch/deepmask
DeepMask.lua, SharpMask.lua, TrainerDeepMask.lua.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from porter.layer_maps.composites import inside
from porter.layer_maps.containers import dimension_to_axis, tensors
from porter.layer_maps.passthrough import Same
from porter.layer_maps.table import Join
from porter.layer_maps.training_only import ZeroGrad
from porter.maps import (
    Array,
    BadField,
    HintsInput,
    HintsInputs,
    LayerMap,
    Nested,
    OpContext,
    Options,
    Shape,
    TensorType,
    TorchObject,
    Value,
    Walk,
    map_leaves,
    optional_param,
    param,
    register,
    size,
    structure,
)


@structure("nn.NoBackprop")
def no_backprop(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The output of the module inside, through which no gradient flows."""
    output = walk(inside(walk, module, "inner"), x, at="1")
    return map_leaves(lambda value: walk.run(ZeroGrad(), value)[0], output)


@structure("nn.ModeSwitch")
def mode_switch(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The first module in training, the second in evaluation."""
    training, evaluation = walk.children(module)[:2]
    if walk.model.options.in_training(module):
        return walk(training, x, at="1")
    return walk(evaluation, x, at="2")


@structure("nn.ModelParallelTable")
def model_parallel_table(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """Every child on a copy of the input, outputs of one size joined along `dimension`."""
    outputs = [
        walk(child, map_leaves(lambda value: walk.run(Same(), value)[0], x), at=str(position))
        for position, child in enumerate(walk.children(module), start=1)
    ]
    entries = tensors(module, outputs, "join")
    axis = dimension_to_axis(module, module.integer("dimension"), entries[0].type.rank)
    return walk.emit(Join(axis=axis), *entries)


class RegionMap(LayerMap, HintsInput):
    """New regions R'×5 from regions R×5: (image, left, top, right, bottom)."""

    def input_hint(self) -> TensorType | None:
        return TensorType((None, 5))

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) == 2 and x[1] == 5, "takes regions R×5", x)
        return x


@register("nn.Foveal")
class Foveal(RegionMap):
    """4R×5 regions from R×5: each, and three around its centre, of 1.5, 2 and 4 times its size."""

    @staticmethod
    def factors() -> Array:
        """4×2: how much of its size a region moves, and how often its size it becomes."""
        return np.array([[0, 1], [0.25, 1.5], [0.5, 2], [1.5, 4]])

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) == 2 and x[1] == 5, "takes regions R×5", x)
        return (None if x[0] is None else 4 * x[0], 5)

    def reference(self, x: Array) -> Array:
        image, left, top, right, bottom = x.T[:, :, None]
        move, grow = self.factors().T.astype(x.dtype)
        columns = [np.broadcast_to(image, (len(x), 4))]
        width, height = right - left, bottom - top
        begin_x, begin_y = left - width * move, top - height * move
        columns += [begin_x, begin_y, begin_x + width * grow, begin_y + height * grow]
        return np.stack(columns, axis=2).reshape(-1, 5)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        image, left, top, right, bottom = tf.split(x, 5, axis=1)
        move, grow = (tf.constant(factor[None], at.dtype) for factor in self.factors().T)
        width, height = tf.subtract(right, left), tf.subtract(bottom, top)
        begin_x = tf.subtract(left, tf.multiply(width, move))
        begin_y = tf.subtract(top, tf.multiply(height, move))
        end_x = tf.add(begin_x, tf.multiply(width, grow))
        end_y = tf.add(begin_y, tf.multiply(height, grow))
        columns = [tf.tile(image, [1, 4]), begin_x, begin_y, end_x, end_y]
        return tf.reshape(tf.stack(columns, axis=2), [-1, 5])


@register("nn.ContextRegion")
class ContextRegion(RegionMap):
    """Regions as large as `scale` says around the same centres: edges times the 4×4 matrix `tr`."""

    matrix = param("IO", name="tr", trainable=False)

    def reference(self, x: Array) -> Array:
        return np.concatenate([x[:, :1], x[:, 1:] @ self.matrix.array], axis=1)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        edges = tf.matmul(x[:, 1:], at.variable(self.matrix))
        return tf.concat([x[:, :1], edges], axis=1)


@register("nn.BBoxNorm")
class BBoxNorm(LayerMap):
    """x·std + mean for groups of four numbers of N×4k, in place; x itself in training."""

    mean = param("OB", trainable=False)
    std = param("OB", trainable=False)
    training = False
    inplace = True
    depends_on_mode = True

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        return self.evolve(training=options.in_training(module))

    def output_shape(self, x: Shape) -> Shape:
        fits = len(x) == 2 and (x[1] is None or x[1] % 4 == 0)
        self.require(fits, "takes N×4k", x)
        return x

    def reference(self, x: Array) -> Array:
        if self.training:
            return x
        rows = x.reshape(-1, 4) * self.std.array + self.mean.array
        return rows.astype(x.dtype).reshape(x.shape)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        if self.training:
            return x
        rows = tf.multiply(tf.reshape(x, [-1, 4]), at.variable(self.std))
        return tf.reshape(tf.add(rows, at.variable(self.mean)), [-1, size(tf, x, 1)])


class BoxReader(LayerMap, HintsInputs):
    """A layer of two inputs, N×`columns[0]` and N×`columns[1]`."""

    columns: ClassVar[tuple[int | None, int | None]]

    def input_hint_at(
        self, position: int, inputs: Sequence[TensorType | None]
    ) -> TensorType | None:
        if position >= len(self.columns):
            return None
        return TensorType((None, self.columns[position]))


@register("nn.ConvertFrom")
class ConvertFrom(BoxReader):
    """Regions N×5, moved and resized by N×4: shifts in their sizes, logarithms of factors."""

    columns = (5, 4)

    def output_shape(self, regions: Shape, y: Shape) -> Shape:
        fits = len(regions) == len(y) == 2 and (regions[1], y[1]) == self.columns
        self.require(fits and regions[0] == y[0], "takes regions N×5 and N×4", regions, y)
        return regions

    def reference(self, regions: Array, y: Array) -> Array:
        image, corners = regions[:, :1], regions[:, 1:].reshape(-1, 2, 2)
        middle, size_of = corners.mean(axis=1), corners[:, 1] - corners[:, 0]
        middle, half = middle + y[:, :2] * size_of, np.exp(y[:, 2:]) * size_of / 2
        return np.concatenate([image, middle - half, middle + half], axis=1)

    def apply(self, tf: Any, regions: Any, y: Any, at: OpContext) -> Any:
        image, begin, end = tf.split(regions, [1, 2, 2], axis=1)
        extent = tf.subtract(end, begin)
        middle = tf.add(tf.multiply(tf.add(begin, end), 0.5), tf.multiply(y[:, :2], extent))
        half = tf.multiply(tf.multiply(tf.exp(y[:, 2:]), extent), 0.5)
        return tf.concat([image, tf.subtract(middle, half), tf.add(middle, half)], axis=1)


@register("nn.SelectBoxes")
class SelectBoxes(BoxReader):
    """N×4 from {scores N×C, boxes N×4C}: the box of the highest score; ·std + mean, if held."""

    columns = (None, None)
    mean = optional_param("OB", trainable=False)
    std = optional_param("OB", trainable=False)

    def output_shape(self, scores: Shape, boxes: Shape) -> Shape:
        fits = len(scores) == len(boxes) == 2 and boxes == (scores[0], 4 * scores[1])
        self.require(fits, "takes scores N×C and boxes N×4C", scores, boxes)
        return (scores[0], 4)

    def reference(self, scores: Array, boxes: Array) -> Array:
        best = scores.argmax(axis=1)
        out = np.stack([row[4 * at : 4 * at + 4] for row, at in zip(boxes, best, strict=True)])
        if self.std is None or self.mean is None:
            return out
        return (out * self.std.array + self.mean.array).astype(boxes.dtype)

    def apply(self, tf: Any, scores: Any, boxes: Any, at: OpContext) -> Any:
        groups = tf.reshape(boxes, [size(tf, scores, 0), -1, 4])
        out = tf.gather(groups, tf.argmax(scores, axis=1), axis=1, batch_dims=1)
        if self.std is None or self.mean is None:
            return out
        return tf.add(tf.multiply(out, at.variable(self.std)), at.variable(self.mean))


# DeepMask -----------------------------------------------------------------------------------------


@structure("nn.DeepMask")
def deep_mask(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """A table of a mask and a score: both heads on the output of the trunk.

    The object has no forward pass in Torch, where trainer and inference call its parts like this.
    """
    features = walk(module.object("trunk"), x, at="trunk")
    return [walk(module.object(head), features, at=head) for head in ("maskBranch", "scoreBranch")]


@structure("nn.SharpMask")
def sharp_mask(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """A mask: `refs` in turn, each on what a module of the trunk made and on the last output.

    The numbers of those modules are `skpos`. The score is not part of its forward pass in Torch.
    """
    trunk, outputs = module.object("trunk"), []
    current = x
    for position, child in enumerate(walk.children(trunk), start=1):
        current = walk(child, current, at=f"trunk.{position}")
        outputs.append(current)
    refinements = module.table("refs")
    for step, position in enumerate([0, *module.list("skpos")]):
        refinement = refinements.get(step)
        reads = int(position)
        if not isinstance(refinement, TorchObject) or reads > len(outputs):
            raise BadField(f"{module.typename} should refine in {step + 1} steps", received="fewer")
        inputs: Nested[Value] = [outputs[reads - 1], current] if step else current
        current = walk(refinement, inputs, at=f"refs.{step}")
    return current
