"""A plan as a functional model of Keras: one layer for each Torch layer, named by its path.

A layer map that has an ordinary layer of Keras makes it in its method `keras`; every other layer is
written from its `apply` into `layers.py`.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from porter.emit.keras.custom_layers import (
    Sources,
    Written,
    dtype_name,
    input_names,
    stored_shape,
    write,
    write_restore,
)
from porter.emit.keras.library import keras
from porter.emit.keras.place import Place
from porter.ir.layout import Layout, LayoutConversion, Plan, Step
from porter.ir.nested import leaves, named_leaves
from porter.runtime.runner import Variables, op_context


@dataclass
class Network:
    """What is known while a model is built."""

    variables: Variables = field(default_factory=Variables)
    sources: Sources = field(default_factory=Sources)
    names: set[str] = field(default_factory=set)
    shared: dict[Hashable, Any] = field(default_factory=dict)
    """Layers with weights by what they compute: modules that share memory are one layer."""
    native: int = 0
    written: list[str] = field(default_factory=list)
    owners: dict[int, Any] = field(default_factory=dict)
    split: set[int] = field(default_factory=set)
    """Weights in layers of different kinds: Keras holds them once for each."""

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
        found = getattr(keras.layers, kind) if isinstance(kind, str) else kind
        layer = found(name=self.free_name(path, label, part), dtype="float32", **config)
        made = layer(*args)
        if weights:
            layer.set_weights([np.asarray(weight) for weight in weights])
            self.shared[key] = layer
        for weight in weights:
            if self.owners.setdefault(id(weight), layer) is not layer:
                self.split.add(id(weight))
        return made


def build(plan: Plan) -> tuple[Any, Network]:
    """The model and what was written for it. Raises EmitError, naming the layer that cannot be."""
    network = Network()
    graph = plan.graph
    inputs = [
        keras.Input(
            batch_shape=stored_shape(value.type, plan.inputs[value.id]),
            dtype=dtype_name(value.type),
            name=name,
        )
        for name, value in named_leaves(graph.inputs, "input")
    ]
    network.names |= {name for name, _ in named_leaves(graph.inputs, "input")}
    held: dict[tuple[int, Layout], Any] = {
        (value.id, plan.inputs[value.id]): tensor
        for value, tensor in zip(leaves(graph.inputs), inputs, strict=True)
    }
    for step in plan.steps:
        if isinstance(step, LayoutConversion):
            held[step.source.id, step.after] = restored(
                network, step, held[step.source.id, step.before]
            )
            continue
        taken = [
            held[value.id, layout]
            for value, layout in zip(step.node.inputs, step.inputs, strict=True)
        ]
        made = applied(network, step, taken)
        for value, layout, tensor in zip(step.node.outputs, step.outputs, made, strict=True):
            held[value.id, layout] = tensor
    outputs = [held[value.id, plan.outputs[value.id]] for value in leaves(graph.outputs)]
    named = [
        keras.layers.Identity(name=network.free_name("", name))(tensor)
        if any(tensor is each for each in inputs)
        else tensor
        for (name, _), tensor in zip(named_leaves(graph.outputs, "output"), outputs, strict=True)
    ]
    model = keras.Model(single(inputs), single(named), name="port")
    return model, network


def applied(network: Network, step: Step, taken: list[Any]) -> list[Any]:
    """The outputs of one Torch layer: by layers of Keras if its map knows any, else written."""
    node, made = step.node, None
    if defines_both(type(node.op)):
        at = op_context(step, network.variables)
        made = node.op.keras(Place(network, node.path), *taken, at=at)
    if made is not None:
        network.native += 1
        return list(made) if isinstance(made, list | tuple) else [made]
    return added(network, node.path, write(step, network.variables), taken)


def defines_both(op: type) -> bool:
    """Whether no class that computes something else stands between a map and its `keras`."""
    return next(each for each in op.__mro__ if {"keras", "apply"} & vars(each).keys()) is next(
        each for each in op.__mro__ if "keras" in vars(each)
    )


def added(network: Network, path: str, layer: Written, taken: list[Any]) -> list[Any]:
    """The outputs of a written layer; one that does nothing is left out."""
    passed = layer.lines == [f"        return {name}" for name in input_names(len(taken))[:1]]
    if passed and not layer.weights:
        return taken[:1]
    kind = network.sources.layer_class(layer)
    network.written.append(kind.__name__)
    values = [weight.stored for weight in layer.weights]
    made = network.call(path, kind, tuple(taken), values, layer.config)
    return list(made) if isinstance(made, list | tuple) else [made]


def restored(network: Network, step: LayoutConversion, x: Any) -> Any:
    """A value in another layout: a Permute wherever the batch stays in front."""
    flat = step.before.flat is not None or step.after.flat is not None
    if flat or step.permutation[0] != 0:
        (made,) = added(network, "", write_restore(step), [x])
        return made
    return network.call("", "Permute", (x,), [], {"dims": step.permutation[1:]})


def single(items: list[Any]) -> Any:
    """One tensor as it is, several as a list."""
    return items[0] if len(items) == 1 else items
