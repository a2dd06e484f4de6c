"""Whether a port takes the step of training that Torch recorded: forward, backward, statistics.

Gradients are compared in the port's own layout. The recorded ones are put into the place of the
weights in a second copy of the module, which is ported as the first was: whatever was done to a
weight until it became a variable is done to its gradient.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from porter.apps.check.recorded_step import RecordedStep, read, with_recorded
from porter.errors import BadField
from porter.frontend.inputs import types_of
from porter.frontend.walker import Model
from porter.ir.fields import Array, DerivedParam, Param, memory_of
from porter.ir.graph import FLOAT, Graph, Value
from porter.ir.layout import Plan, plan
from porter.ir.nested import leaves, named_leaves, same_structure
from porter.ir.options import Options
from porter.ir.registry import Registry
from porter.parity.measure import Measure, compare, failed
from porter.parity.oracle import bind
from porter.runtime.runner import Variables, load, run, store
from porter.system.tensorflow import tf

TOLERANCE = 1e-4
"""Largest accepted error of a quantity in units of its scale."""
ZERO = 1e-9
"""A gradient that is smaller than this in float64, beside others of its module, is zero."""
GRADIENTS = {"weight": "gradWeight", "bias": "gradBias"}
"""What Torch calls the gradients of these fields."""


@dataclass(frozen=True)
class Quantity:
    """What was compared: `output`, `gradInput`, `gradWeight of 2.1`, `running_mean of 3` …"""

    name: str
    measure: Measure


def check(path: Path, registry: Registry, options: Options) -> list[Quantity]:
    """Every quantity of a recorded step beside the port's. Raises PorterError for a bad file."""
    step = read(path)
    types = types_of(step.input)
    ported = plan(Model(step.module, registry, options).walk(types))
    require_fitting(step, ported.graph)
    recorded_run = GradientRun(
        step, plan(Model(with_recorded(path), registry, options).walk(types))
    )
    return list(compared(step, ported, recorded_run.variables))


def verdict(
    quantities: list[Quantity], limit: float, differs: Collection[str] = ()
) -> tuple[Quantity, str]:
    """The worst quantity, and what is wrong of all, or nothing.

    `differs` names quantities that are known to differ: they must.
    """
    judged = [each for each in quantities if each.name not in differs]
    worst = max(judged, key=badness, default=Quantity("nothing", Measure()))
    if not worst.measure.within(limit):
        error = worst.measure.problem or f"error {worst.measure.max_rel:.2e} of the scale"
        return worst, f"{worst.name}: {error} (at most {limit:.0e})"
    wrong = {each.name for each in quantities if not each.measure.within(limit)}
    agreeing = [name for name in differs if name not in wrong]
    return worst, f"{', '.join(agreeing)}: agrees, and is said to differ" if agreeing else ""


def badness(quantity: Quantity) -> tuple[bool, float]:
    """How wrong a quantity is, what cannot be measured most of all."""
    return quantity.measure.problem is not None, quantity.measure.max_rel


def require_fitting(step: RecordedStep, graph: Graph) -> None:
    """Raise BadField where a table of the file has not the form that the module makes or takes."""
    for name, recorded, values in (
        ("train_output", step.output, graph.outputs),
        ("gradOutput", step.grad_output, graph.outputs),
        ("gradInput", step.grad_input, graph.inputs),
    ):
        none = name == "gradInput" and not list(leaves(recorded))
        if not none and not same_structure(recorded, values):
            raise BadField(f"{name} should have tensors where the module has them")


class Remembered(Variables):
    """Variables, what each held at first, and which parameters were computed from them."""

    def __init__(self, precision: str) -> None:
        super().__init__(precision, learning=True)
        self.first: dict[str, Array] = {}
        self.derived: dict[tuple[str, str], DerivedParam] = {}

    def get(self, path: str, param: Param, rows: tuple[int, ...]) -> Any:
        found = super().get(path, param, rows)
        if isinstance(found, tf.Variable):
            self.first.setdefault(name_of(found), found.numpy())
        return found

    def computed(
        self, path: str, param: Param, derived: DerivedParam, rows: tuple[int, ...]
    ) -> Any:
        # The module inside holds it, and the module around it has it under the same name.
        self.derived |= {(path, param.name): derived, (derived.path, param.name): derived}
        return super().computed(path, param, derived, rows)


def name_of(variable: Any) -> str:
    """The Torch path and field of a variable: `2.1.weight`."""
    name: str = variable.name
    return name.removesuffix(":0")


class GradientRun:
    """The step as a port takes it; run as it is, since tracing would take ten times as long."""

    def __init__(self, step: RecordedStep, ported: Plan, precision: str = "float32") -> None:
        graph = ported.graph
        self.ported = ported
        self.variables = Remembered(precision)
        arrays = bind(graph.inputs, step.input)
        self.inputs = {
            v.id: self.stored(arrays[v.id], v, ported.inputs) for v in leaves(graph.inputs)
        }
        with tf.GradientTape(persistent=True) as self.tape:
            self.tape.watch([x for x in self.inputs.values() if x.dtype.is_floating])
            values = run(ported, self.inputs, self.variables, training=True)
        self.outputs = [values[value.id] for value in leaves(graph.outputs)]
        outputs = zip(self.outputs, leaves(graph.outputs), leaves(step.grad_output), strict=True)
        pairs = [
            (tensor, self.stored(fitted(gradient, value), value, ported.outputs))
            for tensor, value, gradient in outputs
            if value.dtype == FLOAT
        ]
        self.targets, self.upstream_gradients = [t for t, _ in pairs], [g for _, g in pairs]

    def stored(self, array: Array, value: Value, layouts: dict[int, Any]) -> Any:
        return store(array, value, layouts[value.id], self.variables.precision)

    def gradient(self, of: Any) -> Array:
        """For a tensor or variable: the gradient as it is stored."""
        if not self.targets:
            return np.zeros(of.shape)
        found = self.tape.gradient(
            self.targets,
            of,
            self.upstream_gradients,
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return np.asarray(tf.convert_to_tensor(found))


def fitted(array: Array, value: Value) -> Array:
    """Torch's View drops a batch of one, and the port keeps it."""
    return array[None] if array.ndim == value.type.rank - 1 else array


def beside(expected: Array, computed: Array) -> Measure:
    """Compare tensors, of which the port's may have kept a batch of one."""
    return compare(expected, computed[0] if computed.shape == (1, *expected.shape) else computed)


def compared(step: RecordedStep, ported: Plan, recorded: Remembered) -> Iterator[Quantity]:
    """The port's step beside Torch's; `recorded` holds what was recorded, as variables."""
    run, graph = GradientRun(step, ported), ported.graph
    expected = [array for _, array in named_leaves(step.output, "output")]
    names = [name for name, _ in named_leaves(step.output, "output")]
    for name, array, value, tensor in zip(
        names, expected, leaves(graph.outputs), run.outputs, strict=True
    ):
        yield Quantity(name, beside(array, load(tensor, ported.outputs[value.id])))
    for (name, array), value in zip(
        named_leaves(step.grad_input, "gradInput"), leaves(graph.inputs), strict=False
    ):
        # A class that has no gradient for an input leaves an empty tensor, or no table at all.
        if array.size and value.dtype == FLOAT:
            computed = run.gradient(run.inputs[value.id])
            yield Quantity(name, beside(array, load(computed, ported.inputs[value.id])))
    parameters = list(of_parameters(step, run, recorded))
    measures = [compare(each.expected, each.computed) for each in parameters]
    if not all(measure.within(TOLERANCE) for measure in measures):
        exact = list(of_parameters(step, GradientRun(step, ported, "float64"), recorded))
        measures = [
            beside_zero(each, parameters) if is_zero(precise, exact) else measure
            for each, precise, measure in zip(parameters, exact, measures, strict=True)
        ]
    yield from (Quantity(p.name, m) for p, m in zip(parameters, measures, strict=True))
    yield from untested_parameters(step, run)


@dataclass(frozen=True)
class Learned:
    """A gradient, or what is kept beside the learned parameters: Torch's and the port's."""

    name: str
    path: str
    expected: Array
    computed: Array
    is_gradient: bool = True


def scale_of_module(one: Learned, others: list[Learned]) -> float:
    """The largest gradient that Torch recorded of any parameter of the same module."""
    return max(
        float(np.abs(each.expected).max())
        for each in others
        if each.path == one.path and each.is_gradient
    )


def is_zero(one: Learned, others: list[Learned]) -> bool:
    """Whether a gradient is zero but for rounding: a bias in front of a batch normalisation."""
    return one.is_gradient and bool(
        np.abs(one.computed).max() <= ZERO * scale_of_module(one, others)
    )


def beside_zero(one: Learned, others: list[Learned]) -> Measure:
    """The error in units of the module's gradients, since the gradient itself has no scale."""
    scale = scale_of_module(one, others)
    return compare(np.append(one.expected, scale), np.append(one.computed, scale))


def of_parameters(step: RecordedStep, run: GradientRun, recorded: Remembered) -> Iterator[Learned]:
    """Gradients of what is learned, and what is kept beside it after the step."""
    by_tensor = {each.tensor.key: each for each in step.recorded if each.tensor is not None}
    for (key, *_), variable in run.variables.by_key.items():
        each, name = by_tensor.get(memory_of(key)), name_of(variable)
        path, _, field = name.rpartition(".")
        if each is None:
            continue
        if each.is_gradient:
            computed = run.gradient(variable) if variable.trainable else np.zeros(variable.shape)
            yield Learned(gradient_name(path, field), path, recorded.first[name], computed)
        else:
            place = f"{field} of {path or 'the root'}"
            yield Learned(place, path, recorded.first[name], variable.numpy(), is_gradient=False)
    for each in step.recorded:
        derived = run.variables.derived.get((each.path, each.name))
        if each.tensor is None and derived is not None:
            # Torch leaves the gradient of what is learned in its place, in the shape of the weight.
            source = run.variables.get(derived.path, derived.sources[0], ())
            computed = derived.arrange(tf, run.gradient(source)).numpy()
            yield Learned(gradient_name(each.path, each.name), each.path, each.array, computed)


def gradient_name(path: str, field: str) -> str:
    """`gradWeight of 2.1`, as Torch calls it."""
    return f"{GRADIENTS.get(field, f'gradient of {field}')} of {path or 'the root'}"


def untested_parameters(step: RecordedStep, run: GradientRun) -> Iterator[Quantity]:
    """What was recorded and no variable of the port holds: it must be as it was."""
    learned: set[Hashable] = {memory_of(key) for key, *_ in run.variables.by_key}
    for each in step.recorded:
        if each.tensor is None:
            is_learned = (each.path, each.name) in run.variables.derived
        else:
            is_learned = each.tensor.key in learned
        if is_learned:
            continue
        name = f"{each.name} of {each.path or 'the root'}"
        if each.tensor is not None and not each.is_gradient:
            yield Quantity(name, compare(each.array, each.tensor.array))
        elif each.array.any():
            yield Quantity(name, failed("Torch learns it, and no variable of the port holds it"))
