"""Where the expected values come from.

Strongest first: what real Torch7 recorded; where it recorded nothing, porter's own NumPy reference,
computed from what was recorded before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from porter.ir.fields import Array
from porter.ir.graph import Call, Graph, Node, Value
from porter.ir.nested import Nested, leaves, same_structure
from porter.parity.recording import Recording, Summary
from porter.runtime import reference

RECORDED = "torch7"
LEFT_IN_FILE = "left in file"
REFERENCE = "numpy float64"
OTHER_SHAPE = "where Torch recorded"
"""How the problem of a layer is told whose output Torch recorded in another shape."""


@dataclass
class Oracle:
    """The expected array of each value, in Torch's order, and its source."""

    values: dict[int, Array]
    sources: dict[int, str]
    contradictions: dict[tuple[str, int], str]
    summaries: dict[int, Summary]

    def complete(self, node: Node) -> None:
        """Compute in NumPy the outputs of a node that were not recorded, from its known inputs."""
        if all(value.id in self.values for value in node.outputs):
            return
        inputs = tuple(self.values[value.id] for value in node.inputs)
        for value, array in zip(node.outputs, reference.run_node(node, inputs), strict=True):
            if value.id not in self.values:
                self.values[value.id] = array
                self.sources[value.id] = REFERENCE


def bind(values: Nested[Value], arrays: Nested[Array]) -> dict[int, Array]:
    """Arrays by value id; both must have the same structure."""
    assert same_structure(values, arrays), "inputs do not fit the graph"
    return {value.id: array for value, array in zip(leaves(values), leaves(arrays), strict=True)}


def consult(
    graph: Graph, inputs: Nested[Array], recording: Recording | None, source: str = RECORDED
) -> Oracle:
    """All expected values: recorded ones, and the others computed from them in NumPy."""
    oracle = recorded_values(graph, inputs, recording, source)
    for node in graph.nodes:
        oracle.complete(node)
    return oracle


def recorded_values(
    graph: Graph, inputs: Nested[Array], recording: Recording | None, source: str = RECORDED
) -> Oracle:
    """The oracle before anything is computed: inputs and recorded values."""
    oracle = Oracle(bind(graph.inputs, inputs), {}, {}, {})
    if recording is not None:
        for call in graph.calls:
            take_recorded(oracle, call, recording, source)
    return oracle


def take_recorded(oracle: Oracle, call: Call, recording: Recording, source: str) -> None:
    """Adopt what Torch recorded of one call."""
    key = (call.path, call.count)
    recorded = recording.outputs.get(key)
    if recorded is None and call.path == "" and call.count == 1:
        recorded = recording.output
    if recorded is None:
        summary = recording.summaries.get(key)
        if summary is not None and same_structure(call.output, summary):
            for value, short in zip(leaves(call.output), leaves(summary), strict=True):
                oracle.summaries.setdefault(value.id, short)
        return
    if isinstance(recorded, list) and len(recorded) == 1 and isinstance(call.output, Value):
        recorded = recorded[0]
    if not same_structure(call.output, recorded):
        oracle.contradictions[key] = "another table structure than the recording's"
        return
    for value, array in zip(leaves(call.output), leaves(recorded), strict=True):
        if not value.type.admits(array.shape):
            oracle.contradictions[key] = (
                f"shape {value.type} {OTHER_SHAPE} {'×'.join(map(str, array.shape))}"
            )
        elif value.id not in oracle.values:
            oracle.values[value.id] = array
            oracle.sources[value.id] = source
        elif not np.array_equal(oracle.values[value.id], array, equal_nan=True):
            oracle.contradictions[key] = "another tensor than the one Torch recorded here"
