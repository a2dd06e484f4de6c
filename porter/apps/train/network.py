"""A module tree whose weights are trained, and the tree with the trained weights put back.

The net runs by the same layer maps as every port, in training mode. Its variables are named by
Torch path and know which of the file's tensors they came from; so what was trained becomes a module
tree again, which is saved, ported and proven as any other.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from porter.emit.image_signature import levels_to_numbers, numbers_to_levels
from porter.errors import UsageError
from porter.frontend.module_tree import submodules
from porter.frontend.walker import Model
from porter.imaging.presets import PixelEncoding
from porter.ir.fields import Array
from porter.ir.graph import TensorType
from porter.ir.layout import LayoutConversion, Plan, Step, plan
from porter.ir.nested import leaves
from porter.ir.options import Options
from porter.ir.registry import Registry
from porter.layer_maps import default_registry
from porter.passes.borders import join_borders
from porter.runtime.runner import Variables, run
from porter.system.tensorflow import tf
from porter.torch7 import Table, Tensor, TorchObject

STRIDE = 0x27220A95
"""By how much the noise of two steps is apart: odd, so that no two of 2**32 steps are alike, and
another number than that between two seeds."""


class TrainableNetwork:
    """Images to images: RGB in 0…255, N×H×W×3, whatever numbers the net itself takes.

    `input_encoding` and `output_encoding` say what those are.
    """

    def __init__(
        self,
        root: TorchObject,
        input_encoding: PixelEncoding,
        output_encoding: PixelEncoding,
        registry: Registry | None = None,
        options: Options | None = None,
    ) -> None:
        self.root = root
        self.model = Model(silenced(root), registry or default_registry(), options or Options())
        self.input_encoding = input_encoding
        self.output_encoding = output_encoding
        self.variables = Variables(learning=True)
        self.plans: dict[tuple[int, ...], Plan] = {}

    @property
    def trainable(self) -> list[Any]:
        """The variables that Torch would train."""
        return [each for each in self.variables.by_key.values() if each.trainable]

    def make_variables(self, batch: int, size: int) -> None:
        """Make them all, in the scope of the strategy that is active."""
        spec = tf.TensorSpec([batch, size, size, 3])
        tf.function(lambda x: self(x, training=True), autograph=False).get_concrete_function(spec)

    def require_same_size(self, size: int) -> None:
        """Raise UsageError unless images keep their size, as the content loss needs it."""
        (value,) = leaves(self.plan((1, size, size)).graph.outputs)
        if value.type.static != (1, self.output_encoding.planes, size, size):
            raise UsageError(
                f"the net makes {value.type} of a crop of {size}×{size}",
                hint="give an `image_size=` that the net keeps: a multiple of 32, for example",
            )

    def plan(self, shape: tuple[int, int, int]) -> Plan:
        """The net for a batch of images of one size."""
        if shape not in self.plans:
            batch, height, width = shape
            type = TensorType((batch, self.input_encoding.planes, height, width))
            self.plans[shape] = plan(join_borders(self.model.walk(type)))
        return self.plans[shape]

    def __call__(self, images: Any, training: bool = False, step: Any = 0) -> Any:
        """What the net makes of images of static shape, neither clipped nor rounded.

        `step` moves the noise of nets that draw some: other numbers, other noise.
        """
        layout = self.plan(tuple(images.shape[:3]))
        (fed,) = layout.inputs
        x = levels_to_numbers(images, self.input_encoding)
        noisy = with_noise_of(step, layout)
        outputs = run(noisy, {fed: x}, self.variables, training=training)
        (value,) = leaves(layout.graph.outputs)
        return numbers_to_levels(outputs[value.id], self.output_encoding)

    def trained(self, tv_weight: float) -> TorchObject:
        """A copy of the tree with the weights as they are now, in the mode in which it was saved.

        Raises UsageError for a trained weight that the file does not hold as such.
        """
        tree: TorchObject = copy.deepcopy(self.root)
        for tensor, array in self.stored({tensor.key: tensor for tensor in tensors(tree)}):
            tensor.array[...] = array.reshape(tensor.shape)
        for _, module in submodules(tree):
            finish(module, tv_weight)
        return tree

    def stored(self, by_key: dict[Hashable, Tensor]) -> Iterator[tuple[Tensor, Array]]:
        """The tensor that every variable came from, and its numbers in Torch's order."""
        names = {id(variable): name for name, variable in self.variables.by_name.items()}
        for (key, axes, to, rows), variable in self.variables.by_key.items():
            # A parameter viewed with other axes has the tensor's key in its own: (key, "", shape).
            inner = key[0] if isinstance(key, tuple) and len(key) == 3 and key[1] == "" else key
            tensor = by_key.get(key, by_key.get(inner))
            if tensor is not None:
                yield tensor, torch_order(variable.numpy(), axes, to, rows)
            elif variable.trainable:
                raise UsageError(
                    f"{names[id(variable)]} was computed from what the file holds, and cannot be "
                    "written back",
                    hint="train a net whose layers hold their weights as they are",
                )

    def load(self, folder: Path) -> None:
        """Take a port's `checkpoint/`. Raises UsageError unless its weights are this net's."""
        from porter.emit.checkpoint import SUFFIX

        reader = tf.train.load_checkpoint(str(folder))
        shapes = reader.get_variable_to_shape_map()
        names = {name.replace(".", "/") + SUFFIX: name for name in self.variables.by_name}
        require_same_weights(
            {n.removesuffix(SUFFIX): tuple(s) for n, s in shapes.items() if n.endswith(SUFFIX)},
            {n.replace(".", "/"): shape for n, shape in self.shapes().items()},
            str(folder),
        )
        for stored, name in names.items():
            self.variables.by_name[name].assign(reader.get_tensor(stored))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every variable's shape by its name."""
        return {name: tuple(each.shape) for name, each in self.variables.by_name.items()}


def require_same_weights(
    actual: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]], where: str
) -> None:
    """Raise UsageError, naming the first that differs, unless the weights are those of the net."""
    for name in sorted(expected.keys() | actual.keys()):
        if expected.get(name) != actual.get(name):
            shown = [
                "×".join(map(str, each[name])) if name in each else "no such weight"
                for each in (actual, expected)
            ]
            raise UsageError(
                f"{where} holds the weights of another architecture",
                received=f"{name.replace('/', '.')}: {shown[0]}; the net has {shown[1]}",
                hint="give the `model=`, `slim=` and `normalization=` that it was trained with",
            )


def torch_order(array: Array, axes: str, to: str, rows: tuple[int, ...]) -> Array:
    """A variable's numbers in the order in which Torch keeps them (undoes Variables.stored)."""
    if rows:
        back = np.empty_like(array)
        back[list(rows)] = array
        array = back
    return array.transpose([to.index(letter) for letter in axes])


def with_noise_of(step: Any, layout: Plan) -> Plan:
    """The plan with layers that draw the noise of a step of training."""

    def moved(each: Step | LayoutConversion) -> Step | LayoutConversion:
        if isinstance(each, LayoutConversion) or "stream" not in each.node.op.fields():
            return each
        stream = tf.cast(step, tf.int64) * STRIDE + each.node.op.stream  # type: ignore[attr-defined]
        stream = tf.bitwise.bitwise_and(stream, tf.constant(0xFFFFFFFF, tf.int64))
        return replace(each, node=replace(each.node, op=each.node.op.evolve(stream=stream)))

    return replace(layout, steps=tuple(map(moved, layout.steps)))


LOSSES = ("nn.TVLoss", "nn.TotalVariation")
"""Modules that add to gradients; here the criterion does."""


def silenced(root: TorchObject) -> TorchObject:
    """The tree with losses that add nothing: the same objects otherwise."""
    memo: dict[int, Any] = {id(tensor): tensor for tensor in tensors(root)}
    tree: TorchObject = copy.deepcopy(root, memo)
    for _, module in submodules(tree):
        if module.typename in LOSSES:
            module.fields["strength"] = 0.0
    return tree


def tensors(root: TorchObject) -> Iterator[Tensor]:
    """Every tensor that a module of the tree holds as a field."""
    for _, module in submodules(root):
        yield from (value for value in module.fields.values() if isinstance(value, Tensor))


def finish(module: TorchObject, tv_weight: float) -> None:
    """module:clearState(): what was computed before the training is gone."""
    for name in ("output", "gradInput"):
        value = module.get(name)
        if isinstance(value, Tensor):
            module.fields[name] = Tensor(value.typename, (), (), 0, None, value.index, value.dtype)
        elif isinstance(value, Table):
            module.fields[name] = Table(value.index)
    if module.typename in LOSSES:
        module.fields["strength"] = tv_weight
