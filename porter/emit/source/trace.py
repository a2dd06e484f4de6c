"""Record a plan: every layer map's `apply` is run once, with a stand-in for `tf`."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from porter.emit.source.recorder import NotPrintable, RecordedLayer, SourceRecorder, SourceSymbol
from porter.errors import EmitError
from porter.ir.fields import Array, Param
from porter.ir.layout import Layout, LayoutConversion, Plan, Step
from porter.runtime.interpreter import StoredValue, interpret
from porter.runtime.runner import Variables, op_context
from porter.system.tensorflow import tf


@dataclass
class RecordedPlan:
    """A recorded plan: its layers in order, and the tensors by value and layout."""

    layers: list[RecordedLayer] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: dict[int, int] = field(default_factory=dict)
    values: dict[int, StoredValue] = field(default_factory=dict)
    """Which value a tensor is, and how it is stored."""
    arrays: dict[str, Array] = field(default_factory=dict)
    """Weights, and constants too long to be written into the code, by name."""

    def note(self, symbol: SourceSymbol, value: int, layout: Layout) -> None:
        self.values.setdefault(symbol.id, (value, layout))


@dataclass(frozen=True)
class RecordingBackend:
    """Computes the symbols of a recorder."""

    recorder: SourceRecorder
    variables: Variables
    recorded: RecordedPlan

    def apply(self, step: Step, inputs: list[SourceSymbol]) -> list[SourceSymbol]:
        """Record one layer. Raises EmitError for a layer that cannot be printed."""
        node, recorder = step.node, self.recorder
        names = dict(zip([each.id for each in inputs], input_names(step), strict=True))
        recorder.begin(RecordedLayer(node.path, node.count, list(names), step, names=names))
        context = op_context(step, self.variables)

        def variable(param: Param, rows: tuple[Any, ...]) -> Any:
            return recorder.weight(context.make_variable(param, rows))

        at = replace(context, make_variable=variable)
        try:
            result = node.op.apply(recorder.tf, *inputs, at=at)
        except (NotPrintable, AttributeError, TypeError) as error:
            # TensorFlow itself has just traced the same call: only the stand-in can be at fault.
            raise EmitError(
                f"{node.op.typename} cannot be written as source: {error}",
                where=f"{node.path or 'the root'} ({node.op.typename})",
                hint="the format saved_model takes every layer",
            ) from None
        outputs = list(result) if isinstance(result, tuple | list) else [result]
        if not all(isinstance(each, SourceSymbol) for each in outputs):
            raise EmitError(
                f"the layer map of {node.op.typename} does not call the `tf` that it is handed",
                where=f"{node.path or 'the root'} ({node.op.typename})",
            )
        recorder.layer.outputs = [each.id for each in outputs]
        for value, layout, symbol in zip(node.outputs, step.outputs, outputs, strict=True):
            self.recorded.note(symbol, value.id, layout)
        return outputs

    def convert(self, step: LayoutConversion, tensor: SourceSymbol) -> SourceSymbol:
        """Record a change of layout."""
        self.recorder.begin(RecordedLayer("", 1, [tensor.id], names={tensor.id: "x"}))
        output: SourceSymbol = step.apply(self.recorder.tf, tensor)
        self.recorder.layer.outputs = [output.id]
        self.recorded.note(output, step.source.id, step.after)
        return output


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


def record(plan: Plan, specs: list[Any], variables: Variables) -> RecordedPlan:
    """Run all layers once on symbolic tensors. Raises EmitError, naming the layer."""
    recorder, recorded = SourceRecorder(variables), RecordedPlan()

    def run(*tensors: Any) -> None:
        inputs: dict[int, SourceSymbol] = {}
        for (value, layout), tensor in zip(plan.inputs.items(), tensors, strict=True):
            inputs[value] = recorder.define(tensor, None)
            recorded.note(inputs[value], value, layout)
        recorded.inputs = [symbol.id for symbol in inputs.values()]
        outputs = interpret(plan, inputs, RecordingBackend(recorder, variables, recorded))
        recorded.outputs = {value: symbol.id for value, symbol in outputs.items()}

    tf.function(run, input_signature=specs, autograph=False).get_concrete_function()
    recorded.layers = recorder.layers
    # In the variables' own memory: `numpy()` copies.
    weights = {n: np.asarray(variable.read_value()) for n, variable in recorder.variables.items()}
    recorded.arrays = recorder.arrays | weights
    place_layout_changes(recorded.layers)
    return recorded


def place_layout_changes(layers: list[RecordedLayer]) -> None:
    """A change of layout belongs to the layer behind it."""
    following: RecordedLayer | None = None
    for layer in reversed(layers):
        if layer.step is not None:
            following = layer
        elif following is not None:
            layer.path, layer.count = following.path, following.count
