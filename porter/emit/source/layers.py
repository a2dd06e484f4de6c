"""From recorded calls to one line a layer.

A layer that makes a single short call is written where it stands. What takes several calls becomes
a function, shared by all layers that make the same calls.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Collection
from dataclasses import dataclass

from porter.emit.source.family import (
    RESERVED,
    Family,
    Numbers,
    Shape,
    live,
    negated,
    numbered,
    parameter_names,
    shape_of,
    weight_keys,
)
from porter.emit.source.function import Function
from porter.emit.source.leaves import ModuleWeights, WeightArray
from porter.emit.source.operators import text
from porter.emit.source.recorder import RecordedLayer
from porter.emit.source.statements import layer_function
from porter.emit.tracing.expression import (
    Dict,
    Expression,
    FunctionCall,
    Literal,
    Ref,
    Subscript,
    rewrite,
)

LONGEST_CALL = 75
"""A longer call is a function's, so that its layers stay on one line each."""


@dataclass
class ModelLine:
    """A layer as one line of the model; `label` says in a comment which it is."""

    path: str
    count: int
    targets: tuple[int | None, ...]
    expression: Expression
    label: str = ""
    shape: str = ""


def lines_of(layers: list[RecordedLayer]) -> tuple[list[ModelLine], list[Function]]:
    """A line for each layer, and the functions that they call."""
    lines: list[ModelLine | None] = []
    families: dict[Shape, Family] = {}
    members: list[tuple[int, Shape, Numbers]] = []
    for position, layer in enumerate(layers):
        line = inline_line(layer)
        lines.append(line)
        if line is None and live(layer):
            shape, numbers = shape_of(layer)
            family = families.setdefault(shape, Family())
            family.layers.append(layer)
            family.numbers.append(numbers)
            members.append((position, shape, numbers))
    functions: dict[Shape, Function] = {}
    places: dict[Shape, dict[int, str]] = {}
    used = set(RESERVED)
    for shape, family in families.items():
        places[shape] = parameter_names(family)
        name = function_name(family, used)
        functions[shape] = layer_function(name, family, places[shape])
        used.add(name)
    for position, shape, numbers in members:
        name = functions[shape].name
        lines[position] = call_line(layers[position], name, places[shape], numbers)
    return [line for line in lines if line is not None], list(functions.values())


def function_name(family: Family, used: Collection[str]) -> str:
    """The Torch class in Python's spelling; variants lack a bias, or are counted."""
    step = family.layers[0].step
    if step is None:
        return numbered("to_torch_order", used)
    stem = snake(step.node.typename)
    if getattr(step.node.op, "bias", "no such field") is None:
        stem += "_without_bias"
    return numbered(stem, used)


def snake(typename: str) -> str:
    """`nn.SpatialConvolutionMM` as spatial_convolution_mm."""
    name = typename.rpartition(".")[2]
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    name = re.sub(r"\W", "_", name).lower()
    is_python = hasattr(builtins, name) or keyword.iskeyword(name) or not name.isidentifier()
    return f"torch_{name}" if is_python else name


def call_line(
    layer: RecordedLayer, name: str, places: dict[int, str], numbers: Numbers
) -> ModelLine:
    """The line that calls a layer's function."""
    args: list[Expression] = [Ref(i) for i in layer.inputs]
    weights = {key: weight for weight, key in weight_keys(layer).items()}
    if weights:
        args.append(weights_argument(weights))
    keywords = {
        each.removeprefix("-"): negated(numbers[place]) if each[0] == "-" else numbers[place]
        for place, each in places.items()
    }
    kwargs = tuple((key, Literal(value, is_number=True)) for key, value in keywords.items())
    # An input that is handed on keeps its name.
    targets = tuple(None if each in layer.inputs else each for each in layer.outputs)
    return ModelLine(layer.path, layer.count, targets, FunctionCall(name, tuple(args), kwargs))


def weights_argument(weights: dict[str, WeightArray]) -> Expression:
    """`w["4.1"]`; a dict where a layer's weights are other modules' or stored twice."""
    (first, *others) = {weight.path for weight in weights.values()}
    if not others and first is not None and all(key == w.name for key, w in weights.items()):
        return ModuleWeights(first)
    return Dict(tuple(weights.items()))


def inline_line(layer: RecordedLayer) -> ModelLine | None:
    """The line of a layer that makes one short call; None for any other."""
    definitions = {identity: layer.definitions[identity] for identity in live(layer)}
    if not definitions or sum(isinstance(each, FunctionCall) for each in definitions.values()) > 1:
        return None
    targets: tuple[int | None, ...] = tuple(layer.outputs)
    definition = definitions.get(layer.outputs[0])
    if len(targets) > 1:
        # Several outputs must be the several results of the call.
        whole = {each.of for each in definitions.values() if isinstance(each, Subscript)}
        if len(whole) != 1 or not all(
            isinstance(definitions.get(each), Subscript) for each in layer.outputs
        ):
            return None
        (call,) = whole
        assert isinstance(call, Ref)
        places = {definitions[each]: each for each in layer.outputs}
        results = (Subscript(call, (Literal(str(i)),)) for i in range(layer.parts[call.id]))
        targets = tuple(places.get(each) for each in results)
        definition = definitions[call.id]
    assert definition is not None

    def resolve(leaf: Expression) -> Expression:
        if isinstance(leaf, Ref) and leaf.id in definitions:
            return rewrite(definitions[leaf.id], resolve)
        return leaf

    expression = rewrite(definition, resolve)
    if len(text(expression, dict.fromkeys(layer.inputs, "x"))) > LONGEST_CALL:
        return None
    label = "changes the layout" if layer.step is None else layer.step.node.typename
    return ModelLine(layer.path, layer.count, targets, expression, label)
