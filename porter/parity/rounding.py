"""Whether the accumulated error of a port is rounding and nothing else.

Some nets amplify. Instance normalisation divides by a plane's deviation: where a plane is nearly
constant, the last digits of float32 become the first ones of what follows. Two faithful float32
implementations then differ by more than any fixed tolerance, and a wider one would let wrong ports
pass. Precision tells them apart: in float64 rounding shrinks by nine digits, a mistake stays.

So where a port's layers agree one by one and only their chain does not, the whole chain runs again:
in float64, where port and reference must agree, and in NumPy's float32, which shows what rounding
does on this input. The port may be `FACTOR` times as far off as that.

Where one plane of a few numbers is divided, what NumPy's run shows is little more than one draw of
a random number, which is ten times smaller than another in one case of sixteen (the ratio of two
normal variables). The agreement in float64 is a second draw: to first order rounding is in
proportion to the precision, so it is what float32 does, divided by 2²⁹. The larger of the two
counts. The second only up to `FACTOR` times the first, since a trifle that is not rounding, too
small to tell from it in float64, would be blown up as well.

The same holds for one layer in isolation, whose float64 agreement and float32 noise are measured
anyway; there NumPy's run alone counts. Only the NumPy reference is questioned in this way, never a
recording.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from porter.ir.fields import Array
from porter.ir.graph import Value
from porter.ir.layout import Plan, Step
from porter.ir.liveness import dead_values
from porter.ir.nested import Nested, leaves
from porter.parity.measure import Measure, relative_error
from porter.parity.oracle import bind
from porter.runtime import reference

FACTOR = 10.0
"""Summing in another order changes an accumulated error by a small factor, in either direction."""
PRECISION = 2.0**29
"""How many times finer float64 is than float32: 53 bits and 24."""
MAX_ROUNDING = 1e-2
"""Where rounding may reach more than this fraction of the scale, float32 proves nothing."""


@dataclass(frozen=True)
class Rounding:
    """Accumulated errors of a value, in units of its scale.

    `float32` is what rounding does in float32, `float64` the port's error in float64; both against
    NumPy in float64.
    """

    float32: float
    float64: float

    def allows(self, limit: float) -> float:
        """The largest error that counts as rounding; 0 unless float64 agrees to `limit`."""
        return min(FACTOR * self.float32, MAX_ROUNDING) if self.float64 <= limit else 0.0

    def note(self, what: str = "the whole chain") -> str:
        """A note for the row of a layer that passes because of it."""
        return (
            f"float32 rounding alone makes {self.float32:.0e} here; "
            f"in float64 {what} agrees to {self.float64:.0e}"
        )


def rounding_allowance(
    measures: Sequence[Measure], roundings: Sequence[Rounding], agreement: float
) -> tuple[float, Rounding] | None:
    """The error that rounding explains and the worst it does, if that covers all measures.

    `agreement` is the largest accepted error in float64.
    """
    if not roundings:
        return None
    limit = min(each.allows(agreement) for each in roundings)
    if not all(measure.within(limit) for measure in measures):
        return None
    return limit, max(roundings, key=lambda each: each.float32)


def accumulated_rounding(
    layout: Plan,
    inputs: Nested[Array],
    double: object,
    progress: Callable[[str], None] = lambda path: None,
) -> dict[int, Rounding]:
    """What rounding does to every value of a plan, by id.

    `inputs` are in Torch's order, `double` is the runner's float64 variables. Activations are let
    go when no later layer reads them.
    """
    from porter.runtime import runner

    assert isinstance(double, runner.Variables)
    graph = layout.graph
    exact = {i: in_precision(np.float64, array) for i, array in bind(graph.inputs, inputs).items()}
    rounded = {i: in_precision(np.float32, array) for i, array in exact.items()}
    dead = dead_values(graph)
    positions = {id(node): position for position, node in enumerate(graph.nodes)}
    roundings: dict[int, Rounding] = {}

    def judge(step: Step, tensors: list[object]) -> None:
        node = step.node
        progress(node.path)
        for values, precision in ((exact, np.float64), (rounded, np.float32)):
            node_inputs = tuple(values[value.id] for value in node.inputs)
            arrays = reference.run_node(node, node_inputs, precision)
            values.update({v.id: array for v, array in zip(node.outputs, arrays, strict=True)})
        for value, tensor, at in zip(node.outputs, tensors, step.outputs, strict=True):
            expected, computed = exact[value.id], runner.load(tensor, at)
            drift = (
                relative_error(expected, computed) if expected.shape == computed.shape else np.inf
            )
            roundings[value.id] = of_two_draws(relative_error(expected, rounded[value.id]), drift)
        for identity in dead.get(positions[id(node)], ()):
            exact.pop(identity, None)
            rounded.pop(identity, None)

    by_id: dict[int, Value] = {value.id: value for value in leaves(graph.inputs)}
    stored = {
        identity: runner.store(exact[identity], by_id[identity], at, double.precision)
        for identity, at in layout.inputs.items()
    }
    runner.run(layout, stored, double, judge)
    return roundings


def of_two_draws(float32: float, float64: float) -> Rounding:
    """What rounding does, by NumPy's error in float32 and the port's, a second draw, in float64."""
    return Rounding(max(float32, min(PRECISION * float64, FACTOR * float32)), float64)


def in_precision(precision: type, array: Array) -> Array:
    """A floating-point array in another precision; integers stay as they are."""
    return array.astype(precision) if np.issubdtype(array.dtype, np.floating) else array
