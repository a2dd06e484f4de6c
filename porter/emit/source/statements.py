"""The function that a family of layers calls: recorded calls as assignments.

A result that is read once goes into the line that reads it if that line stays easy to read, unless
the layer map gave it a telling name.
"""

from __future__ import annotations

import builtins
import inspect
from collections import Counter

from porter.emit.source.family import Family, live, weight_keys
from porter.emit.source.function import Function, Statement
from porter.emit.source.leaves import WeightArray
from porter.emit.source.operators import text
from porter.emit.source.recorder import GENERIC_NAMES, RecordedLayer
from porter.emit.tracing.expression import (
    Expression,
    FunctionCall,
    Items,
    Literal,
    Ref,
    Subscript,
    references,
    rewrite,
)
from porter.emit.tracing.printer import WIDTH
from porter.ir.layer_map import LayerMap

LONGEST_PART = 60
"""Longer expressions get a line of their own."""
RESULT_NAMES = {
    "add_n": "total",
    "reduce_sum": "total",
    "rsqrt": "scale",
    "pad": "padded",
    "expand_dims": "expanded",
    "strided_slice": "picked",
    "reshape": "reshaped",
    "transpose": "transposed",
    "conv1d": "convolved",
    "conv2d": "convolved",
    "conv3d": "convolved",
    "max_pool2d": "pooled",
    "max_pool3d": "pooled",
    "max_pool_with_argmax": "pooled",
    "avg_pool2d": "pooled",
    "avg_pool3d": "pooled",
}
"""Names for what a TensorFlow function makes, where its own name reads badly."""


def layer_function(name: str, family: Family, places: dict[int, str]) -> Function:
    """The function of a family; `places` says where which parameter stands."""
    layer = family.layers[0]
    keys = weight_keys(layer)
    position = -1

    def change(leaf: Expression) -> Expression:
        nonlocal position
        if isinstance(leaf, WeightArray):
            return WeightArray(None, keys[leaf])
        if isinstance(leaf, Literal) and leaf.is_number:
            position += 1
            return Literal(places[position]) if position in places else leaf
        return leaf

    definitions = {i: rewrite(layer.definitions[i], change) for i in live(layer)}
    statements, returned = statements_of(layer, definitions)
    inputs = {i: layer.names[i] for i in layer.inputs}
    numbers = dict.fromkeys(each.removeprefix("-") for each in places.values())
    targets = [i for each in statements for i in each.targets if i is not None]
    return Function(
        name,
        [*inputs.values(), *(["w"] if keys else []), *numbers],
        inputs,
        statements,
        returned,
        "Back to Torch's order." if layer.step is None else description(layer.step.node.op),
        {i: local_name(layer, i) for i in targets},
    )


def description(op: LayerMap) -> str:
    """The layer's class, and what its layer map says of it, as far as that fits on a line."""
    said = (inspect.getdoc(type(op)) or "").replace("\n\n", ". ").replace("\n", " ")
    sentence = said.partition(". ")[0].removesuffix(".")
    # porter's own layers have no class of Torch.
    kind = f"{op.typename}. " if "." in op.typename else ""
    for end in ("\n", ";", ":", ","):
        doc = f"{kind}{sentence.partition(end)[0]}."
        if len(doc) <= WIDTH - len('    """"""'):
            return doc
    return f"{op.typename}."


def local_name(layer: RecordedLayer, identity: int) -> str:
    """What the layer map calls a tensor; or the argument that it becomes; or what makes it."""
    if identity in layer.names:
        return layer.names[identity]
    for definition in layer.definitions.values():
        for argument, value in definition.kwargs if isinstance(definition, FunctionCall) else ():
            if value == Ref(identity):
                return argument
    definition = layer.definitions[identity]
    last = (
        definition.function.rpartition(".")[2] if isinstance(definition, FunctionCall) else "part"
    )
    last = RESULT_NAMES.get(last, last.removeprefix("reduce_"))
    return f"{last}_" if hasattr(builtins, last) else last


def statements_of(
    layer: RecordedLayer, definitions: dict[int, Expression]
) -> tuple[list[Statement], Expression]:
    """The lines of a function, and what it returns."""
    outputs = tuple(map(Ref, layer.outputs))
    returned: Expression = outputs[0] if len(outputs) == 1 else Items(outputs, "()")
    uses = Counter(references(returned))
    for definition in definitions.values():
        uses.update(references(definition))
    unpacked = unpackings(layer, definitions)
    picked = {identity for parts in unpacked.values() for identity in parts if identity is not None}
    guess = {i: layer.names.get(i, "reordered") for i in [*layer.inputs, *definitions]}
    inlined: dict[int, Expression] = {}
    statements: list[Statement] = []

    def resolve(leaf: Expression) -> Expression:
        return inlined.get(leaf.id, leaf) if isinstance(leaf, Ref) else leaf

    for identity, definition in definitions.items():
        if identity in picked:
            continue
        expression = rewrite(definition, resolve)
        written = text(expression, guess)
        is_plain = not isinstance(definition, FunctionCall) and "(" not in written
        is_bland = layer.names.get(identity, "x") in GENERIC_NAMES
        is_short = len(written) <= LONGEST_PART and written.count("(") <= 2
        if identity in unpacked:
            statements.append(Statement(unpacked[identity], expression))
        elif (
            is_plain or returned == Ref(identity) or (uses[identity] == 1 and is_bland and is_short)
        ):
            inlined[identity] = expression
        else:
            statements.append(Statement((identity,), expression))
    return statements, rewrite(returned, resolve)


def unpackings(
    layer: RecordedLayer, definitions: dict[int, Expression]
) -> dict[int, tuple[int | None, ...]]:
    """Calls of which more than one result is read: the tensor of each result."""
    parts: dict[int, list[int | None]] = {}
    for identity, definition in definitions.items():
        if (
            isinstance(definition, Subscript)
            and isinstance(definition.of, Ref)
            and definition.of.id in layer.parts
        ):
            places = parts.setdefault(definition.of.id, [None] * layer.parts[definition.of.id])
            places[int(str(definition.keys[0]))] = identity
    return {
        whole: tuple(places)
        for whole, places in parts.items()
        if sum(each is not None for each in places) > 1
    }
