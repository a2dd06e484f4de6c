"""Outputs that Torch left inside a model file: a recording that nobody had to make.

Every Torch module keeps its last output, and `torch.save` writes it unless the user cleared it. The
outputs of two neighbours show what Torch made of what, layer by layer, though the model's own input
is not kept.

They are evidence and no law. A layer whose output agrees with the port is proven by real Torch. One
that differs proves nothing where NumPy and TensorFlow agree on its input, since a file holds what
happened after the output was computed as well:

- the last forward pass was a step of training, in which dropout, batch normalisation and others
  compute something else;
- the optimiser stepped, and the weights are not those of the pass;
- whoever received the model's output changed it in place, as a criterion that masks it does;
- buffers are shared, and another layer wrote there.

Such a layer gets a note with the reason. Only where NumPy and TensorFlow differ from each other is
the port wrong.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from porter.frontend.inputs import accepts, hint_of, plane_counts
from porter.frontend.module_tree import submodules
from porter.frontend.walker import Model
from porter.ir.fields import Array
from porter.ir.graph import Graph, Node, TensorType, Value
from porter.ir.nested import leaves
from porter.parity.compare import LEFT_IN_FILE, REFERENCE, Report, Row, Tolerance
from porter.parity.measure import Measure, compare
from porter.runtime import reference
from porter.torch7 import Tensor, TorchObject

MASKED = 0.02
"""The least share of an output that still agrees where only some of its elements were changed."""
MAX_ELEMENTS = 2**24
"""Elements of one layer's inputs and outputs; larger ones would be compared for minutes."""


@dataclass(frozen=True)
class Evidence:
    """One layer with the input and the outputs that Torch left, in Torch's order."""

    node: Node
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]

    @property
    def elements(self) -> int:
        return sum(array.size for array in (*self.inputs, *self.outputs))


def find(model: Model) -> tuple[Graph, list[Evidence]] | None:
    """The walk whose shapes are those of the outputs left in the file, and the layers they show."""
    if not any(left_output(module) is not None for _, module in submodules(model.root)):
        return None
    types = solve(model)
    if types is None:
        return None
    graph = model.walk(types)
    evidence = [each for each in gather(graph) if each.elements <= MAX_ELEMENTS]
    return (graph, evidence) if evidence else None


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
    if len(left) not in (hint.rank, hint.rank - 1):
        return []
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
    matching = 0
    for call in graph.calls:
        left = left_output(call.module) if call.module is not None else None
        if left is None or not isinstance(call.output, Value) or not call.is_leaf:
            continue
        if left.shape != call.output.shape:
            return False
        matching += 1
    return matching > 0


def gather(graph: Graph) -> list[Evidence]:
    """Layers whose inputs and outputs were all left and not overwritten since."""
    calls = Counter(call.module.index for call in graph.calls if call.module is not None)
    left: dict[int, Array] = {}
    writers: defaultdict[int, set[int]] = defaultdict(set)
    owners: dict[int, int] = {}
    for call in graph.calls:
        if call.module is None or calls[call.module.index] > 1:
            continue
        output = left_output(call.module)
        if output is not None and isinstance(call.output, Value) and call.is_leaf:
            assert output.storage is not None
            left.setdefault(call.output.id, output.array)
            owners[call.output.id] = output.storage.index
            writers[output.storage.index].add(call.output.storage)
    # Nets that save memory share buffers: who wrote last is not known.
    for identity, memory in owners.items():
        if len(writers[memory]) > 1:
            del left[identity]
    overwritten = {
        value.storage for node in graph.nodes if node.op.inplace for value in node.inputs[:1]
    }
    writes = Counter(
        value.storage for node in graph.nodes if not node.op.is_view for value in node.outputs
    )
    overwritten |= {storage for storage, count in writes.items() if count > 1}
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
    """Each such layer in TensorFlow, fed what Torch left, against what Torch left.

    Where that differs, against NumPy, with a note of why Torch's output may be another.
    """
    from porter.ir.layout import plan
    from porter.runtime import runner

    assert isinstance(variables, runner.Variables)
    found = find(model)
    if found is None:
        return None
    graph, evidence = found
    by_node = {id(each.node): each for each in evidence}
    final = {value.id for value in leaves(graph.outputs)}
    rows: list[Row] = []
    for step in plan(graph).node_steps():
        each = by_node.get(id(step.node))
        if each is None:
            continue
        outputs = runner.run_isolated(step, list(each.inputs), variables)
        rows.append(judge(each, outputs, final, tolerance))
    agreeing = sum(row.oracle == LEFT_IN_FILE for row in rows)
    label = f"what Torch left in the file ({agreeing} of {len(rows)} layers agree)"
    return Report(
        tuple(rows),
        label,
        LEFT_IN_FILE if agreeing else REFERENCE,
        notes=tuple(
            f"{row.path or 'the root'} ({row.type}): {row.note}"
            for row in rows
            if row.oracle != LEFT_IN_FILE and row.passed
        ),
    )


def judge(evidence: Evidence, outputs: list[Array], final: set[int], tolerance: Tolerance) -> Row:
    """One layer's row: the output left in the file is its oracle if it agrees, else NumPy."""
    node = evidence.node
    left = worst(evidence.outputs, outputs)
    oracle, measure, note = LEFT_IN_FILE, left, ""
    if not left.within(tolerance.isolated):
        expected = reference.run_node(node, evidence.inputs)
        oracle, measure = REFERENCE, worst(expected, outputs)
        note = f"Torch left another output in the file ({reason(evidence, outputs, final)})"
    return Row(
        node.path,
        node.typename,
        ", ".join(str(value.type) for value in node.outputs),
        oracle,
        isolated=measure,
        count=node.count,
        note=note,
        tolerance=tolerance,
    )


def worst(expected: Sequence[Array], computed: Sequence[Array]) -> Measure:
    """The measure of the output that differs most."""
    return Measure.worst([compare(a, b) for a, b in zip(expected, computed, strict=True)])


def reason(evidence: Evidence, outputs: list[Array], final: set[int]) -> str:
    """Why an output that was left differs though both implementations agree."""
    node = evidence.node
    if node.op.draws:
        return "this class draws random numbers at every call"
    if node.op.depends_on_mode:
        return "it is from a training step, in which this class computes something else"
    if any(value.id in final for value in node.outputs):
        share = agreeing_share(evidence.outputs, outputs)
        if share >= MASKED:
            return f"whoever received it masked it or changed it in place; {share:.0%} of it agrees"
        if not node.op.params():
            return "whoever received it changed it in place"
    if node.op.params():
        return "it is stale: the weights were stepped after it was computed"
    return "it is stale: something was written over it"


def agreeing_share(left: tuple[Array, ...], computed: list[Array]) -> float:
    """The share of all elements that agree."""
    equal = [
        np.isclose(a, b, rtol=1e-4, atol=1e-6 * float(np.abs(b).max(initial=0)))
        for a, b in zip(left, computed, strict=True)
        if a.shape == b.shape
    ]
    count = sum(each.size for each in equal)
    return float(sum(np.count_nonzero(each) for each in equal)) / count if count else 0.0
