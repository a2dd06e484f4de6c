"""Compare a port with the oracle, layer by layer, before anything is emitted.

Every layer is compared twice: *isolated*, fed the oracle's own inputs, tells which layer is wrong;
*accumulated*, fed what the port itself made, tells whether it matters. On small inputs the same
layer also runs in float64 against NumPy in float64, which separates rounding from wrong semantics,
and NumPy in float32 tells the noise floor: the error that rounding alone explains.

Where every layer agrees by itself and only the chain does not, `rounding.py` tells whether the net
amplifies rounding on this input, and how far off a port may then be.

The oracle of a value is, strongest first: what real Torch7 recorded, what Torch left in the model
file, porter's own NumPy reference. Every row names it.

All this happens layer by layer in one pass: an activation is freed when no later layer reads it,
so that memory is bounded by the widest place of the net, not by its length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from porter.frontend.walker import Model
from porter.ir.fields import Array
from porter.ir.graph import Graph, Node, Value
from porter.ir.layout import Plan, Step, plan
from porter.ir.liveness import dead_values
from porter.ir.nested import Nested, leaves, map_leaves
from porter.parity.diagnosis import Hint, explain
from porter.parity.measure import Measure, compare, error_shown, failed, relative_error
from porter.parity.oracle import (
    LEFT_IN_FILE,
    RECORDED,
    REFERENCE,
    Oracle,
    bind,
    consult,
    recorded_values,
)
from porter.parity.recording import Recording, Summary
from porter.parity.rounding import Rounding, accumulated_rounding, in_precision, rounding_allowance
from porter.parity.thumbnails import Strip, Thumbnail, Worst, strip
from porter.runtime import memory, reference
from porter.torch7.mapped import release

__all__ = [
    "LEFT_IN_FILE",
    "RECORDED",
    "REFERENCE",
    "Comparison",
    "Oracle",
    "Report",
    "Row",
    "Tolerance",
    "bind",
    "consult",
    "measured",
    "verify",
]

Watch = Callable[[Node, Sequence[Array], Sequence[Array]], None]
"""Called for every node right after its comparison, with its outputs in Torch's order: the oracle's
and the port's. They are freed afterwards."""

MAX_FLOAT32 = float(np.finfo(np.float32).max)

EXPLAINED = 4
"""How many failing layers of one input are diagnosed; most later failures follow from these."""


@dataclass(frozen=True)
class Tolerance:
    """Largest accepted errors, in units of each layer's scale."""

    isolated: float = 1e-5
    accumulated: float = 1e-4
    float64: float = 1e-10

    @property
    def stricter(self) -> bool:
        """Whether an error below the default is requested, which rounding then does not excuse."""
        usual = Tolerance()
        return self.isolated < usual.isolated or self.accumulated < usual.accumulated


@dataclass(frozen=True)
class Row:
    """One call of one module. `float64` and `noise` are in units of the layer's scale."""

    path: str
    type: str
    shape: str
    oracle: str
    isolated: Measure | None = None
    accumulated: Measure | None = None
    float64: float | None = None
    noise: float | None = None
    count: int = 1
    note: str = ""
    tolerance: Tolerance = field(default_factory=Tolerance)
    hint: Hint | None = None
    thumbnail: Thumbnail | None = field(default=None, repr=False, compare=False)
    inherited: bool = False
    """Whether the error came with the input: an earlier layer fails, and this one by itself not."""

    @property
    def nonfinite(self) -> bool:
        """Whether Torch itself makes NaN or infinity here, and the port the same."""
        measures = (self.isolated, self.accumulated)
        return any(measure is not None and measure.nonfinite for measure in measures)

    @property
    def problem(self) -> str | None:
        for measure in (self.isolated, self.accumulated):
            if measure is not None and measure.problem:
                return measure.problem
        return None

    def summary(self) -> str:
        """What went wrong, in one line."""
        if self.problem:
            return self.problem
        parts = [
            f"{name} error {error_shown(error)} of the scale (at most {limit:.0e})"
            for name, error, limit in self.errors
            if error > limit
        ]
        return ", ".join(parts) or "no error"

    @property
    def errors(self) -> list[tuple[str, float, float]]:
        """Name, error and tolerance of what was measured, in units of the layer's scale."""
        checks = (
            ("isolated", measured(self.isolated), self.tolerance.isolated),
            ("accumulated", measured(self.accumulated), self.tolerance.accumulated),
            ("float64", self.float64, self.tolerance.float64),
        )
        return [(name, error, limit) for name, error, limit in checks if error is not None]

    @property
    def strain(self) -> float:
        """The largest error in units of its tolerance: a layer passes up to 1."""
        return max((error / limit for _, error, limit in self.errors), default=0.0)

    @property
    def passed(self) -> bool:
        return (
            (self.isolated is None or self.isolated.within(self.tolerance.isolated))
            and (self.accumulated is None or self.accumulated.within(self.tolerance.accumulated))
            and (self.float64 is None or self.float64 <= self.tolerance.float64)
        )


def with_inherited(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows in the order of their calls; those behind a failing layer say whether they inherit."""
    marked: list[Row] = []
    failed = False
    for row in rows:
        by_itself = replace(row, accumulated=None)
        inherits = failed and not row.passed and row.isolated is not None and by_itself.passed
        marked.append(replace(row, inherited=inherits))
        failed = failed or not row.passed
    return tuple(marked)


def measured(measure: Measure | None) -> float | None:
    """A measure's error in units of the scale, if there is one."""
    return None if measure is None else measure.max_rel


@dataclass(frozen=True)
class Report:
    """All rows for one input, in the order in which Torch runs the modules.

    `expected` has the oracle's values of the model's outputs, in Torch's order; `strip` shows them
    beside the port's where they are images; `allowed` is how far an emitted port may be from them.
    `overflow` is the path of the first layer of which float32 does not hold what the oracle makes.
    """

    rows: tuple[Row, ...]
    input: str
    oracle: str
    expected: tuple[Array, ...] = field(default=(), repr=False, compare=False)
    graph: Graph | None = field(default=None, repr=False, compare=False)
    strip: Strip | None = field(default=None, repr=False, compare=False)
    allowed: float = Tolerance.accumulated
    notes: tuple[str, ...] = ()
    """What a user should know of layers that passed, a line each."""
    overflow: str | None = None

    @property
    def passed(self) -> bool:
        return all(row.passed for row in self.rows)

    @property
    def in_float64(self) -> bool:
        """Whether the layers were compared in float64, too."""
        return any(row.float64 is not None for row in self.rows)

    @property
    def first_diverging(self) -> Row | None:
        return next((row for row in self.rows if not row.passed), None)


class Comparison:
    """One input through one model: collects measures by call."""

    def __init__(self, graph: Graph, oracle: Oracle, tolerance: Tolerance) -> None:
        self.graph = graph
        self.oracle = oracle
        self.tolerance = tolerance
        self.isolated: dict[tuple[str, int], list[Measure]] = {}
        self.accumulated: dict[int, Measure] = {}
        self.float64: dict[tuple[str, int], list[float]] = {}
        self.noise: dict[tuple[str, int], list[float]] = {}
        self.hints: dict[tuple[str, int], Hint | None] = {}
        self.rounding: dict[int, Rounding] = {}
        self.worst = Worst()
        self.overflow: str | None = None

    def inputs_of(self, node: Node) -> tuple[Array, ...]:
        return tuple(self.oracle.values[value.id] for value in node.inputs)

    def outputs_of(self, node: Node) -> list[Array]:
        return [self.oracle.values[value.id] for value in node.outputs]

    def expected_of(self, node: Node) -> list[Array]:
        """What a layer should make of the oracle's inputs.

        A recorded output is that only where the inputs were recorded as well; where they come from
        NumPy, it has the rounding of all layers before, and the chain is what it judges.
        """
        sources = self.oracle.sources
        recorded = any(sources[value.id] != REFERENCE for value in node.outputs)
        if recorded and any(sources.get(value.id) == REFERENCE for value in node.inputs):
            return list(reference.run_node(node, self.inputs_of(node)))
        return self.outputs_of(node)

    def exact_of(self, node: Node) -> list[Array]:
        """The reference in float64 on the oracle's inputs."""
        if all(self.oracle.sources.get(value.id) == REFERENCE for value in node.outputs):
            return self.outputs_of(node)
        return reference.run_node(node, self.inputs_of(node))

    def note_overflow(self, node: Node) -> None:
        """Remember the first layer whose oracle output exceeds the range of float32."""
        if self.overflow is None and any(overflows(array) for array in self.outputs_of(node)):
            self.overflow = node.path

    def add_isolated(self, step: Step, computed: list[Array]) -> None:
        """Measure a layer fed the oracle's inputs; where it fails, look for the cause."""
        node, limit = step.node, self.tolerance.isolated
        key, expected = (node.path, node.count), self.expected_of(node)
        measures = [compare(a, b) for a, b in zip(expected, computed, strict=True)]
        self.isolated.setdefault(key, []).extend(measures)
        for measure, a, b in zip(measures, expected, computed, strict=True):
            self.worst.offer(key, measure, a, b)
        failing = not all(measure.within(limit) for measure in measures)
        if failing and key not in self.hints and len(self.hints) < EXPLAINED:
            inputs = self.inputs_of(node)
            self.hints[key] = explain(step, inputs, tuple(expected), tuple(computed), limit)

    def add_float64(self, node: Node, exact: list[Array], computed: list[Array]) -> None:
        errors = [relative_error(a, b) for a, b in zip(exact, computed, strict=True)]
        self.float64.setdefault((node.path, node.count), []).extend(errors)

    def add_noise(self, node: Node, exact: list[Array], rounded: list[Array]) -> None:
        errors = [relative_error(a, b) for a, b in zip(exact, rounded, strict=True)]
        self.noise.setdefault((node.path, node.count), []).extend(errors)

    def add_accumulated(self, value: Value, computed: Array) -> None:
        summary = self.oracle.summaries.get(value.id)
        measure = compare(self.oracle.values[value.id], computed)
        if summary is not None:
            measure = Measure.worst([measure, compare_summary(summary, computed)])
        self.accumulated[value.id] = measure

    @property
    def only_accumulates(self) -> bool:
        """Whether each layer agrees in isolation, the chain does not, and nothing was recorded."""
        failing = [
            i for i, m in self.accumulated.items() if not m.within(self.tolerance.accumulated)
        ]
        return (
            bool(failing)
            and not self.tolerance.stricter
            and all(self.oracle.sources.get(identity) == REFERENCE for identity in failing)
            and not any(self.accumulated[identity].problem for identity in failing)
            and all(row.passed for row in self.rows(accumulated=False))
        )

    def allowed(self, values: Sequence[Value]) -> tuple[Tolerance, str]:
        """The tolerance for these outputs of a call, and why where it is not the usual one."""
        usual = self.tolerance
        roundings = [self.rounding[value.id] for value in values if value.id in self.rounding]
        measures = [self.accumulated[v.id] for v in values if v.id in self.accumulated]
        if all(measure.within(usual.accumulated) for measure in measures):
            return usual, ""
        allowance = rounding_allowance(measures, roundings, usual.float64)
        if allowance is None:
            return usual, ""
        limit, most = allowance
        return replace(usual, accumulated=limit), most.note()

    def allowed_isolated(self, key: tuple[str, int], values: Sequence[Value]) -> tuple[float, str]:
        """The tolerance for a layer in isolation: one layer can amplify its input's rounding."""
        usual, errors = self.tolerance.isolated, self.isolated.get(key, [])
        by_reference = all(self.oracle.sources.get(value.id) == REFERENCE for value in values)
        needless = all(measure.within(usual) for measure in errors)
        if needless or not by_reference or self.tolerance.stricter:
            return usual, ""
        both = zip(self.noise.get(key, []), self.float64.get(key, []), strict=True)
        roundings = [Rounding(rounded, exact) for rounded, exact in both]
        allowance = rounding_allowance(errors, roundings, self.tolerance.float64)
        if allowance is None:
            return usual, ""
        limit, most = allowance
        return limit, most.note("the layer")

    def rows(self, accumulated: bool = True) -> tuple[Row, ...]:
        """One row for every module that computes a tensor or passes one on."""
        notes = dict(self.graph.notes)
        rows: list[Row] = []
        for call in self.graph.calls:
            key = (call.path, call.count)
            contradiction = self.oracle.contradictions.get(key)
            if not (call.is_leaf or key in self.isolated or contradiction):
                continue
            outputs = list(leaves(call.output))
            along = [self.accumulated[v.id] for v in outputs if v.id in self.accumulated]
            tolerance, why = self.allowed(outputs)
            isolated, cause = self.allowed_isolated(key, outputs)
            measures = self.isolated.get(key, [])
            if contradiction:
                measures = [failed(contradiction)]
            sources = {self.oracle.sources.get(v.id, "the input") for v in outputs}
            rows.append(
                Row(
                    call.path,
                    call.typename,
                    ", ".join(str(v.type) for v in outputs),
                    " and ".join(sorted(sources)),
                    Measure.worst(measures) if measures else None,
                    Measure.worst(along) if along and accumulated else None,
                    max(self.float64[key], default=None) if key in self.float64 else None,
                    max(self.noise[key], default=None) if key in self.noise else None,
                    call.count,
                    "; ".join(note for note in (notes.get(call.path, ""), cause, why) if note),
                    replace(tolerance, isolated=isolated),
                    None if cause else self.hints.get(key),
                    self.worst.get(key),
                )
            )
        return tuple(rows)


def overflows(array: Array) -> bool:
    """Whether some finite or infinite number exceeds the range of float32; NaN does not count."""
    return array.size > 0 and bool(np.fmax.reduce(np.abs(array), axis=None) > MAX_FLOAT32)


def compare_summary(expected: Array | Summary, computed: Array | Summary) -> Measure:
    """Compare activations of which a recording keeps a summary, on either side."""
    if expected.shape != computed.shape:
        return failed(f"shape {computed.shape} where Torch recorded {expected.shape}")
    reference, other = (
        each if isinstance(each, Summary) else Summary.of(each) for each in (expected, computed)
    )
    return compare(reference.numbers, other.numbers)


def verify(
    model: Model,
    inputs: Nested[Array],
    variables: Mapping[str, object],
    recording: Recording | None = None,
    *,
    label: str = "input",
    source: str = RECORDED,
    tolerance: Tolerance | None = None,
    precision: str = "float32",
    deep: bool = True,
    data_format: str = "channels_last",
    progress: Callable[[str], None] = lambda path: None,
    watch: Watch = lambda node, expected, computed: None,
) -> Report:
    """Compare every layer of `model` on `inputs` (Torch's order) with the oracle.

    `variables` maps "float32" and "float64" to the runner's variables, so that weights are made
    once for several inputs. `deep` adds the float64 agreement and the noise floor.
    """
    from porter.frontend.inputs import types_of
    from porter.runtime import runner

    graph = model.walk(types_of(inputs))
    memory.require(graph, label)
    layout = plan(graph, data_format)
    oracle = recorded_values(graph, inputs, recording, source)
    comparison = Comparison(graph, oracle, tolerance or Tolerance())
    weights = variables[precision]
    double = variables["float64"] if deep else None
    assert isinstance(weights, runner.Variables)
    dead = dead_values(graph)
    positions = {id(node): position for position, node in enumerate(graph.nodes)}

    def judge(step: Step, computed: list[object]) -> None:
        """Compare one layer right after the port ran it; its inputs may be freed afterwards."""
        node = step.node
        progress(node.path)
        oracle.complete(node)
        comparison.note_overflow(node)
        node_inputs = comparison.inputs_of(node)
        comparison.add_isolated(step, runner.run_isolated(step, list(node_inputs), weights))
        if isinstance(double, runner.Variables):
            exact = comparison.exact_of(node)
            doubles = runner.run_isolated(
                step, [in_precision(np.float64, a) for a in node_inputs], double
            )
            comparison.add_float64(node, exact, doubles)
            comparison.add_noise(node, exact, reference.run_node(node, node_inputs, np.float32))
        arrays = [
            runner.load(tensor, at) for tensor, at in zip(computed, step.outputs, strict=True)
        ]
        watch(node, comparison.outputs_of(node), arrays)
        for i, (value, at) in enumerate(zip(node.outputs, step.outputs, strict=True)):
            array, expected = arrays[i], oracle.values[value.id]
            comparison.add_accumulated(value, array)
            if array.shape != expected.shape:
                # The layers behind it could not run on that, and would be blamed in its place.
                computed[i] = runner.store(expected, value, at, weights.precision)
        for identity in dead.get(positions[id(node)], ()):
            oracle.values.pop(identity, None)
        for param in node.op.params().values():
            release(param.array)

    computed = run_accumulated(layout, inputs, weights, judge)
    if comparison.only_accumulates and precision == "float32":
        exactly = variables["float64"]
        comparison.rounding = accumulated_rounding(layout, inputs, exactly, progress)
    expected = map_leaves(lambda value: oracle.values[value.id], graph.outputs)
    return Report(
        with_inherited(comparison.rows()),
        label,
        source if recording is not None else REFERENCE,
        tuple(leaves(expected)),
        graph,
        strip(inputs, expected, map_leaves(lambda value: computed[value.id], graph.outputs)),
        comparison.allowed(list(leaves(graph.outputs)))[0].accumulated,
        overflow=comparison.overflow,
    )


def run_accumulated(
    layout: Plan,
    inputs: Nested[Array],
    variables: object,
    judge: Callable[[Step, list[object]], None],
) -> dict[int, Array]:
    """The whole port on its own intermediate results; returns its outputs in Torch's order."""
    from porter.runtime import runner

    assert isinstance(variables, runner.Variables)
    arrays = bind(layout.graph.inputs, inputs)
    by_id = {value.id: value for value in leaves(layout.graph.inputs)}
    stored = {
        identity: runner.store(arrays[identity], by_id[identity], at, variables.precision)
        for identity, at in layout.inputs.items()
    }
    computed = runner.run(layout, stored, variables, judge)
    return {
        identity: runner.load(computed[identity], at) for identity, at in layout.outputs.items()
    }
