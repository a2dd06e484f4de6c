"""A plan as a functional model of Keras: one layer for each Torch layer, named by its path.

A layer map that has an ordinary layer of Keras makes it in its method `keras`, with the
`KerasBuilder` that it is handed; every other layer is written from its `apply` into `layers.py`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from porter.emit.keras.custom_layers import (
    CustomLayer,
    LayersFile,
    input_names,
    specification,
    write,
    write_conversion,
)
from porter.emit.keras.library import keras
from porter.ir.capabilities import HasKerasLayer
from porter.ir.layout import LayoutConversion, Plan, Step
from porter.ir.nested import named_leaves
from porter.runtime.interpreter import interpret
from porter.runtime.runner import Variables, op_context

INITIALIZER = "_initializer"
"""How Keras's layers end the names of what draws their initial weights."""

Pads = Sequence[Sequence[int]]
"""Elements before and behind each spatial axis."""


@dataclass
class FunctionalModel:
    """A model while it is built, layer by layer: computes Keras's tensors."""

    variables: Variables = field(default_factory=Variables)
    sources: LayersFile = field(default_factory=LayersFile)
    names: set[str] = field(default_factory=set)
    shared: dict[Hashable, Any] = field(default_factory=dict)
    """Layers with weights by what they compute: modules that share memory are one layer."""
    native: int = 0
    written: list[str] = field(default_factory=list)
    owners: dict[int, Any] = field(default_factory=dict)
    split: set[int] = field(default_factory=set)
    """Weights in layers of different kinds: Keras stores them once for each."""

    @property
    def note(self) -> str:
        """Which layers there are, and what training will not keep."""
        parts = [f"{self.native} Torch layers of Keras's own"]
        if self.written:
            names = ", ".join(sorted(set(self.written)))
            parts.append(f"{len(self.written)} in layers.py ({names})")
        if self.split:
            parts.append(f"{len(self.split)} weights that Torch shares are stored apart")
        return "; ".join(parts)

    def free_name(self, path: str, kind: str, part: str = "") -> str:
        """A layer's name: its path with `_` for `.`, which PyTorch does not allow in names."""
        stem = "_".join(filter(None, [path.replace(".", "_").replace("/", "_") or kind, part]))
        count, name = 1, stem
        while name in self.names:
            count += 1
            name = f"{stem}_call{count}"
        self.names.add(name)
        return name

    def call(
        self,
        path: str,
        kind: Any,
        args: tuple[Any, ...],
        weights: list[Any],
        config: dict[str, Any],
        part: str = "",
    ) -> Any:
        """A layer by its class or its name in Keras, called; `weights` are arrays or variables.

        Layers of the very same weights and configuration are one layer, called several times.
        """
        label = kind if isinstance(kind, str) else kind.__name__
        key = (label, tuple(map(id, weights)), repr(sorted(config.items())))
        if weights and key in self.shared:
            return self.shared[key](*args)
        layer_class = getattr(keras.layers, kind) if isinstance(kind, str) else kind
        layer = layer_class(name=self.free_name(path, label, part), dtype="float32", **config)
        with without_initial_numbers(layer):
            output = layer(*args)
        if weights:
            assign(layer, weights)
            self.shared[key] = layer
        for weight in weights:
            if self.owners.setdefault(id(weight), layer) is not layer:
                self.split.add(id(weight))
        return output

    def apply(self, step: Step, inputs: list[Any]) -> list[Any]:
        """One Torch layer: by layers of Keras if its map has any, else written."""
        node, output = step.node, None
        if isinstance(node.op, HasKerasLayer) and defines_both(type(node.op)):
            at = op_context(step, self.variables)
            output = node.op.keras(KerasBuilder(self, node.path), *inputs, at=at)
        if output is None:
            return self.call_written(node.path, write(step, self.variables), inputs)
        self.native += 1
        return list(output) if isinstance(output, list | tuple) else [output]

    def call_written(self, path: str, layer: CustomLayer, inputs: list[Any]) -> list[Any]:
        """The outputs of a written layer; one that does nothing is left out."""
        passes_on = layer.lines == [
            f"        return {name}" for name in input_names(len(inputs))[:1]
        ]
        if passes_on and not layer.weights:
            return inputs[:1]
        kind = self.sources.layer_class(layer)
        self.written.append(kind.__name__)
        values = [weight.stored for weight in layer.weights]
        output = self.call(path, kind, tuple(inputs), values, layer.config)
        return list(output) if isinstance(output, list | tuple) else [output]

    def convert(self, step: LayoutConversion, tensor: Any) -> Any:
        """A value in another layout: a Permute wherever the batch stays in front."""
        flat = step.before.flat is not None or step.after.flat is not None
        if flat or step.permutation[0] != 0:
            (output,) = self.call_written("", write_conversion(step), [tensor])
            return output
        return self.call("", "Permute", (tensor,), [], {"dims": step.permutation[1:]})


@dataclass(frozen=True)
class KerasBuilder:
    """The argument `k` of a layer map's method `keras`: makes layers named by one Torch path.

    `k("Dense", x, weights=[kernel, bias], units=10)` makes `keras.layers.Dense(units=10)` with
    these weights, which are `at.variable(…)` or None, in the order in which Keras lists them, and
    calls it. `part` names one of several layers that make up one of Torch. A method that finds no
    layer of Keras for its fields returns None before it has made any.
    """

    model: FunctionalModel
    path: str

    def __call__(
        self, kind: str, *inputs: Any, weights: Sequence[Any] = (), part: str = "", **config: Any
    ) -> Any:
        present = [weight for weight in weights if weight is not None]
        x = inputs[0] if len(inputs) == 1 else list(inputs)
        return self.model.call(self.path, kind, (x,), present, config, part)

    def padded(self, x: Any, pads: Pads) -> Any:
        """Zeros around the spatial axes of a channels-last batch; nothing where none are asked."""
        if not any(map(any, pads)):
            return x
        return self.around("ZeroPadding", x, pads, "pad")

    def cropped(self, x: Any, crops: Pads) -> Any:
        """Less elements along the spatial axes of a channels-last batch."""
        return self.around("Cropping", x, crops, "crop") if any(map(any, crops)) else x

    def around(self, kind: str, x: Any, pairs: Pads, part: str) -> Any:
        """ZeroPadding1D, Cropping2D and their like."""
        rank = len(pairs)
        amounts: Any = tuple((int(first), int(last)) for first, last in pairs)
        config: dict[str, Any] = {"cropping" if kind == "Cropping" else "padding": amounts}
        if rank == 1:
            (amounts,) = amounts
            config = dict.fromkeys(config, amounts)
        if rank > 1 or kind == "ZeroPadding":
            config["data_format"] = "channels_last"
        return self(f"{kind}{rank}D", x, part=part, **config)


@contextmanager
def without_initial_numbers(layer: Any) -> Iterator[None]:
    """A layer that is built in this block draws no weights: it is about to get others."""
    initializers = {name: each for name, each in vars(layer).items() if name.endswith(INITIALIZER)}
    for name in initializers:
        setattr(layer, name, keras.initializers.Zeros())
    try:
        yield
    finally:
        for name, each in initializers.items():
            setattr(layer, name, each)


def assign(layer: Any, weights: list[Any]) -> None:
    """Set all weights of a layer. It shares the memory of variables until either is changed."""
    for own, weight in zip(layer.weights, weights, strict=True):
        own.assign(weight.read_value() if hasattr(weight, "read_value") else np.asarray(weight))


def build(plan: Plan, variables: Variables | None = None) -> tuple[Any, FunctionalModel]:
    """The model and what was written for it. Raises EmitError, naming the layer that cannot be.

    `variables` are those of the plan's port, if there are some already.
    """
    functional = FunctionalModel(variables.extended() if variables else Variables())
    inputs: dict[int, Any] = {}
    for name, value in named_leaves(plan.graph.inputs, "input"):
        shape, dtype = specification(value.type, plan.inputs[value.id])
        inputs[value.id] = keras.Input(batch_shape=shape, dtype=dtype, name=name)
        functional.names.add(name)
    tensors = interpret(plan, inputs, functional)
    outputs = []
    for name, value in named_leaves(plan.graph.outputs, "output"):
        tensor = tensors[value.id]
        if any(tensor is each for each in inputs.values()):
            tensor = keras.layers.Identity(name=functional.free_name("", name))(tensor)
        outputs.append(tensor)
    model = keras.Model(single(list(inputs.values())), single(outputs), name="port")
    return model, functional


def defines_both(op: type) -> bool:
    """Whether no class that computes something else stands between a map and its `keras`."""
    return next(each for each in op.__mro__ if {"keras", "apply"} & vars(each).keys()) is next(
        each for each in op.__mro__ if "keras" in vars(each)
    )


def single(items: list[Any]) -> Any:
    """One tensor as it is, several as a list."""
    return items[0] if len(items) == 1 else items
