"""Containers that occur more than once become functions, called with the path of their weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from porter.emit.source.arguments import number_arguments
from porter.emit.source.family import RESERVED, Numbers, numbered, varying
from porter.emit.source.function import Function, Statement
from porter.emit.source.layers import ModelLine, snake
from porter.emit.source.leaves import WeightsPath
from porter.emit.source.regions import Body, Form, Region, largest, paths_in, with_paths
from porter.emit.tracing.expression import (
    Expression,
    FunctionCall,
    Items,
    Literal,
    Ref,
    nodes,
    rewrite,
)

PLAIN = frozenset({"Sequential", "ConcatTable", "ParallelTable", "Concat", "gModule", ""})
"""Containers whose class says nothing of what they do."""
LONGEST_LIST = 70


@dataclass
class ContainerFunction:
    """The function of containers that are alike."""

    body: Body
    stem: str
    typename: str
    regions: list[Region]


def outline(
    model: Body, typenames: Mapping[str, str], used: Collection[str]
) -> list[ContainerFunction]:
    """Replace alike containers by calls, the largest first; returns their functions, inner first.

    `typenames` are the Torch classes by path, `used` the names of other functions.
    """
    blocks: list[ContainerFunction] = []
    while (group := largest([model, *(block.body for block in blocks)])) is not None:
        form, regions = group
        typename = typenames.get(regions[0].path, "")
        body = replaced(f"block {len(blocks)}", regions)
        blocks.append(ContainerFunction(body, block_name(form, typename), typename, regions))
    blocks.reverse()
    names: dict[str, str] = {}
    for block in blocks:
        names[block.body.name] = numbered(block.stem, {*RESERVED, *used, *names.values()})
    for body in (model, *(block.body for block in blocks)):
        body.name = names.get(body.name, body.name)
        for line in body.lines:
            if isinstance(line.expression, FunctionCall):
                function = names.get(line.expression.function, line.expression.function)
                line.expression = replace(line.expression, function=function)
    return blocks


def block_name(form: Form, typename: str) -> str:
    """What a container does: its class says it, or whether it adds or joins what it made."""
    if typename.rpartition(".")[2] not in PLAIN:
        return snake(typename)
    called = [functions_in(expression) for *_, expression in form.lines]
    adding = [position for position, functions in enumerate(called) if "tf.add" in functions]
    # One addition, behind which at most an activation follows.
    if len(adding) == 1 and adding[0] >= len(called) - 2:
        return "residual_block"
    return "joined_block" if "tf.concat" in called[-1] else "block"


def functions_in(expression: Expression) -> set[str]:
    """The functions that an expression calls."""
    return {each.function for each in nodes(expression) if isinstance(each, FunctionCall)}


def replaced(name: str, regions: list[Region]) -> Body:
    """Make the function of some regions and put a call in the place of each."""
    first = regions[0]
    places = parameters_of(regions)
    weights = () if first.weights is None else ("w", "path")
    body = Body(
        name,
        body_lines(regions, places),
        list(first.inputs),
        list(first.outputs),
        (*weights, *dict.fromkeys(places.values())),
        is_relative=True,
    )
    # From the end, so that the places of the others stay right.
    for region in sorted(regions, key=lambda each: -each.start):
        region.body.lines[region.start : region.stop] = [block_line(name, region, places)]
    return body


def block_line(name: str, region: Region, places: dict[int, str]) -> ModelLine:
    """The line that calls a container's function."""
    args: list[Expression] = [Ref(each) for each in region.inputs]
    if region.weights is not None:
        args += [Literal("w"), WeightsPath(region.weights, region.body.is_relative)]
    numbers = {places[i]: region.numbers[i] for i in places}
    kwargs = tuple((key, Literal(value, is_number=True)) for key, value in numbers.items())
    last = region.lines[-1]
    call = FunctionCall(name, tuple(args), kwargs)
    shape = last.shape if last.targets == region.outputs else ""
    return ModelLine(region.path, last.count, region.outputs, call, shape=shape)


def parameters_of(regions: list[Region]) -> dict[int, str]:
    """Which number of the regions is which parameter; equal columns share one."""
    arguments = list(number_arguments([line.expression for line in regions[0].lines]))
    named: dict[Numbers, str] = {}
    places: dict[int, str] = {}
    for place, column in varying([each.numbers for each in regions]):
        if column not in named:
            named[column] = numbered(arguments[place], {*RESERVED, *named.values()})
        places[place] = named[column]
    return places


def body_lines(regions: list[Region], places: dict[int, str]) -> list[ModelLine]:
    """The lines of the first region with relative paths, and parameters where numbers differ."""
    position = -1

    def change(leaf: Expression) -> Expression:
        nonlocal position
        if isinstance(leaf, Literal) and leaf.is_number:
            position += 1
            return Literal(places[position], is_number=True) if position in places else leaf
        return leaf

    lines: list[ModelLine] = []
    for alike in zip(*(region.lines for region in regions), strict=True):
        line = alike[0]
        inside = line.path.removeprefix(regions[0].path)
        expression = rewrite(with_paths(line.expression, WeightsPath(inside, True)), change)
        shape = line.shape if len({each.shape for each in alike}) == 1 else ""
        lines.append(replace(line, path=inside, expression=expression, shape=shape))
    return lines


def block_function(block: ContainerFunction, inputs: dict[int, str]) -> Function:
    """The function of a container; `inputs` names the tensors that it takes."""
    outputs = tuple(Ref(each) for each in block.body.outputs)
    returned = outputs[0] if len(outputs) == 1 else Items(outputs, "()")
    return function_of(block.body, inputs, returned, description(block))


def description(block: ContainerFunction) -> str:
    """The docstring of a container's function: its class, and where it stands."""
    paths = [region.path for region in block.regions if not region.body.is_relative]
    bodies = [region.body.name for region in block.regions if region.body.is_relative]
    places = [*paths, *(f"in {name}" for name in dict.fromkeys(bodies))]
    listed = ", ".join(places)
    if len(listed) > LONGEST_LIST:
        listed = f"{places[0]} and {len(block.regions) - 1} others"
    return f"{block.typename or 'Layers'}: {listed}."


def function_of(body: Body, inputs: dict[int, str], returned: Expression, doc: str) -> Function:
    """The function of a body."""
    statements = [Statement(line.targets, line.expression, comment(line)) for line in body.lines]
    parameters = [*(inputs[each] for each in body.inputs), *body.parameters]
    return Function(body.name, parameters, inputs, statements, returned, doc)


def comment(line: ModelLine) -> str:
    """The layer's path, where the code does not say it, its class and the shape it makes."""
    is_said = line.path in {path.text for path in paths_in(line.expression)}
    path = "" if is_said else line.path
    return "  ".join(filter(None, (f"{path} {line.label}".strip(), line.shape)))
