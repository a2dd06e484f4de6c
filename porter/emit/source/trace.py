"""Record a plan: every layer map's `apply` is run once, with a stand-in for `tf`."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import Any

from porter.emit.source.recorder import Layer, Namespace, NotPrintable, Recorder, Symbol
from porter.errors import EmitError
from porter.ir.fields import Array, Param
from porter.ir.graph import Value
from porter.ir.layout import Layout, LayoutConversion, Plan, Step
from porter.ir.nested import leaves
from porter.runtime.interpreter import StoredValue
from porter.runtime.runner import Variables, op_context
from porter.system.tensorflow import tf


@dataclass
class Trace:
    """A recorded plan: its layers in order, and the tensors by value and layout."""

    layers: list[Layer]
    inputs: list[int]
    outputs: dict[int, int]
    made: dict[int, tuple[int, Layout]]
    """Which value a tensor is, and how it is stored."""
    arrays: dict[str, Array]
    """Weights, and constants too long to be written into the code, by name."""


def record_layer(
    recorder: Recorder, step: Step, taken: list[Symbol], variables: Variables
) -> list[Symbol]:
    """Record one layer. Raises EmitError for a layer that cannot be printed."""
    node = step.node
    given = dict(zip([each.id for each in taken], input_names(step), strict=True))
    layer = Layer(node.path, node.count, list(given), step, names=given)
    recorder.layers.append(layer)
    found = op_context(step, variables)

    def variable(param: Param, rows: tuple[Any, ...]) -> Symbol:
        return recorder.weight(found.make_variable(param, rows))

    at = replace(found, make_variable=variable)
    try:
        made = node.op.apply(Namespace(recorder, "tf", tf), *taken, at=at)
    except (NotPrintable, AttributeError, TypeError) as error:
        # TensorFlow itself has just traced the same call: only the stand-in can be at fault.
        raise EmitError(
            f"{node.op.typename} cannot be written as source: {error}",
            where=f"{node.path or 'the root'} ({node.op.typename})",
            hint="the format saved_model takes every layer",
        ) from None
    results = list(made) if isinstance(made, tuple | list) else [made]
    if not all(isinstance(each, Symbol) for each in results):
        raise EmitError(
            f"the layer map of {node.op.typename} does not call the `tf` that it is handed",
            where=f"{node.path or 'the root'} ({node.op.typename})",
        )
    layer.outputs = [each.id for each in results]
    return results


def record_restore(recorder: Recorder, step: LayoutConversion, taken: Symbol) -> Symbol:
    """Record a change of layout."""
    recorder.layers.append(Layer("", 1, [taken.id], names={taken.id: "x"}))
    made: Symbol = step.apply(Namespace(recorder, "tf", tf), taken)
    recorder.layer.outputs = [made.id]
    return made


def input_names(step: Step) -> list[str]:
    """What `apply` calls its inputs: `x`, or `content` and `style`, or `x_1`, `x_2` …"""
    count = len(step.node.inputs)
    names: list[str] = []
    for parameter in list(inspect.signature(step.node.op.apply).parameters.values())[1:]:
        if parameter.kind is parameter.VAR_POSITIONAL:
            stem = parameter.name.removesuffix("s")
            names += [f"{stem}_{i}" for i in range(1, count - len(names) + 1)]
        elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.name != "at":
            names.append(parameter.name)
    return names[:count]


def record(plan: Plan, specs: list[Any], variables: Variables) -> Trace:
    """Run all layers once on symbolic tensors. Raises EmitError, naming the layer."""
    recorder = Recorder(variables)
    made: dict[int, tuple[int, Layout]] = {}
    trace = Trace([], [], {}, made, recorder.arrays)

    def run(*tensors: Any) -> None:
        held: dict[StoredValue, Symbol] = {}

        def hold(value: Value, layout: Layout, symbol: Symbol) -> None:
            held[value.id, layout] = symbol
            made.setdefault(symbol.id, (value.id, layout))

        for value, tensor in zip(leaves(plan.graph.inputs), tensors, strict=True):
            hold(value, plan.inputs[value.id], recorder.define(tensor, None))
        trace.inputs = [symbol.id for symbol in held.values()]
        for step in plan.steps:
            if isinstance(step, LayoutConversion):
                before = held[step.source.id, step.before]
                hold(step.source, step.after, record_restore(recorder, step, before))
            else:
                node = step.node
                taken = [held[v.id, at] for v, at in zip(node.inputs, step.inputs, strict=True)]
                results = record_layer(recorder, step, taken, variables)
                for v, at, symbol in zip(node.outputs, step.outputs, results, strict=True):
                    hold(v, at, symbol)
        trace.outputs = {i: held[i, layout].id for i, layout in plan.outputs.items()}

    tf.function(run, input_signature=specs, autograph=False).get_concrete_function()
    trace.layers = recorder.layers
    trace.arrays |= {name: variable.numpy() for name, variable in recorder.variables.items()}
    place_layout_changes(trace.layers)
    return trace


def place_layout_changes(layers: list[Layer]) -> None:
    """A change of layout belongs to the layer behind it."""
    following: Layer | None = None
    for layer in reversed(layers):
        if layer.step is not None:
            following = layer
        elif following is not None:
            layer.path, layer.count = following.path, following.count
