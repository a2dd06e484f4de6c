"""Outputs that Torch left inside a model file: a recording that nobody had to make.

Every Torch module keeps its last output, and `torch.save` writes it unless the user cleared it. The
outputs of two neighbours show what Torch made of what, layer by layer, though the model's own input
is not kept. They may be stale: weights may have been updated after the last forward pass, and an
in-place layer overwrites what stood before it. What counts is settled as follows.

- A layer without parameters cannot be stale: input and output come from the same pass.
- If any layer with parameters agrees with the reference, the weights are those of the pass, and
  none is stale.
- Layers that depend on the mode (dropout, batch normalisation saved in training) are left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from porter.frontend.inputs import accepts, hint_of, plane_counts
from porter.frontend.module_tree import submodules
from porter.frontend.walker import Model
from porter.ir.fields import Array
from porter.ir.graph import Graph, Node, TensorType, Value
from porter.parity.compare import LEFT_IN_FILE, Report, Row, Tolerance
from porter.parity.measure import compare
from porter.runtime import reference
from porter.torch7 import Tensor, TorchObject

AGREES = 5e-6
"""Largest error, in units of the scale, of a layer that the weights of the file still explain."""


@dataclass(frozen=True)
class Evidence:
    """One layer with the input and the outputs that Torch left."""

    node: Node
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]

    @property
    def explained(self) -> bool:
        """Whether the reference makes these outputs of these inputs."""
        made = reference.run_node(self.node, self.inputs)
        return all(
            compare(wanted, got).within(AGREES)
            for wanted, got in zip(self.outputs, made, strict=True)
        )


def find(model: Model) -> tuple[Graph, list[Evidence]] | None:
    """The walk whose shapes are those of the outputs left in the file, and what they prove."""
    if not any(left_output(module) is not None for _, module in submodules(model.root)):
        return None
    types = solve(model)
    if types is None:
        return None
    graph = model.walk(types)
    evidence = [each for each in gather(graph) if not each.node.op.depends_on_mode]
    with_weights = [each for each in evidence if each.node.op.params()]
    fresh = [each for each in with_weights if each.explained]
    counted = [e for e in evidence if fresh or not e.node.op.params()]
    return (graph, counted) if counted else None


def left_output(module: TorchObject) -> Tensor | None:
    """A module's last output, if it is a tensor that was not cleared."""
    output = module.get("output")
    return output if isinstance(output, Tensor) and output.numel else None


def solve(model: Model) -> TensorType | None:
    """The input type with which the first layers make outputs of the shapes that were left."""
    hint = hint_of(model)
    last = left_output(model.root)
    first = next(
        (
            left
            for _, module in submodules(model.root)
            if "modules" not in module
            for left in [left_output(module)]
            if left is not None
        ),
        None,
    )
    if hint is None or first is None:
        return None
    for type in candidates(hint, first.shape):
        if accepts(model, type) and matches(model.walk(type), last):
            return type
    return None


def candidates(hint: TensorType, left: tuple[int, ...]) -> list[TensorType]:
    """Input types whose first layer may have made an output of shape `left`."""
    batch = left[0] if len(left) == hint.rank else 1
    if hint.rank != 4:
        shape = tuple(
            size if size is not None else batch if axis == 0 else left[min(axis, len(left) - 1)]
            for axis, size in enumerate(hint.shape)
        )
        return [replace(hint, shape=shape)]
    height, width = left[-2], left[-1]
    margins = [*range(13), *range(-12, 0)]
    scaled = [
        (scale * height + margin, scale * width + margin)
        for scale in (1, 2, 4)
        for margin in margins
    ]
    return [
        TensorType((batch, planes, *size))
        for planes in plane_counts(hint.shape[1])
        for size in scaled
        if min(size) > 0
    ]


def matches(graph: Graph, last: Tensor | None) -> bool:
    """Whether a walk makes the shapes that were left, at its first layers and at its end."""
    final = graph.outputs
    if last is not None and isinstance(final, Value) and final.shape != last.shape:
        return False
    seen = 0
    for call in graph.calls:
        left = left_output(call.module) if call.module is not None else None
        if left is None or not isinstance(call.output, Value) or not call.is_leaf:
            continue
        if left.shape != call.output.shape:
            return False
        seen += 1
    return seen > 0


def gather(graph: Graph) -> list[Evidence]:
    """Layers whose inputs and outputs were all left and not overwritten since."""
    calls = Counter(call.module.index for call in graph.calls if call.module is not None)
    left: dict[int, Array] = {}
    for call in graph.calls:
        if call.module is None or calls[call.module.index] > 1:
            continue
        output = left_output(call.module)
        if output is not None and isinstance(call.output, Value) and call.is_leaf:
            left.setdefault(call.output.id, output.array)
    overwritten = {
        value.storage for node in graph.nodes if node.op.inplace for value in node.inputs[:1]
    }
    for node in graph.nodes:
        for value in node.outputs:
            if value.storage in overwritten:
                left.pop(value.id, None)
    return [
        Evidence(
            node,
            tuple(left[value.id] for value in node.inputs),
            tuple(left[value.id] for value in node.outputs),
        )
        for node in graph.nodes
        if node.inputs and all(v.id in left for v in (*node.inputs, *node.outputs))
    ]


def verify(model: Model, variables: object, tolerance: Tolerance) -> Report | None:
    """Each such layer in TensorFlow, fed what Torch left, against what Torch left."""
    from porter.ir.layout import plan
    from porter.runtime import runner

    assert isinstance(variables, runner.Variables)
    found = find(model)
    if found is None:
        return None
    graph, evidence = found
    proven = {id(each.node): each for each in evidence}
    rows: list[Row] = []
    for step in plan(graph).node_steps():
        each = proven.get(id(step.node))
        if each is None:
            continue
        made = runner.run_isolated(step, list(each.inputs), variables)
        worst = max(
            (compare(a, b) for a, b in zip(each.outputs, made, strict=True)),
            key=lambda measure: measure.max_rel,
        )
        shown = ", ".join(str(value.type) for value in step.node.outputs)
        rows.append(
            Row(
                step.node.path,
                step.node.typename,
                shown,
                LEFT_IN_FILE,
                isolated=worst,
                count=step.node.count,
                tolerance=tolerance,
            )
        )
    return Report(tuple(rows), f"what Torch left in the file ({len(rows)} layers)", LEFT_IN_FILE)
