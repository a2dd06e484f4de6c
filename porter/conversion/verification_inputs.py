"""What a conversion feeds its model: the recording's input, if there is one, and seeded numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from porter.conversion.request import Request
from porter.emit.formats import VerificationSample
from porter.errors import ParityError, UsageError
from porter.frontend.inputs import (
    Sample,
    Shapes,
    accepts,
    given,
    hint_of,
    samples,
    types_of,
    with_batch,
)
from porter.frontend.search import solve
from porter.frontend.walker import Model
from porter.ir.fields import Array
from porter.ir.graph import Graph, TensorType
from porter.ir.layout import Plan
from porter.ir.nested import Nested, leaves, map_leaves, named_leaves
from porter.parity.compare import Report
from porter.parity.recording import Recording

if TYPE_CHECKING:
    from porter.emit.port import Port


def input_shapes(model: Model, request: Request) -> Shapes:
    """Input types: the user's, the recording's, or solved from the model."""
    if request.input_shapes:
        return given(model, list(request.input_shapes))
    if request.reference is not None and request.reference.input is not None:
        types = types_of(request.reference.input)
        model.walk(types)
        return Shapes((batched_type(model, types),))
    return solve(model)


def verification_inputs(
    model: Model, shapes: Shapes, request: Request
) -> list[tuple[Sample, Recording | None]]:
    """Seeded inputs, and first what Torch recorded, if there is a recording."""
    seeded: list[tuple[Sample, Recording | None]] = [
        (sample, None) for sample in samples(model, shapes, request.options.seed)
    ]
    recording = request.reference
    if recording is None:
        return seeded
    if recording.input is None:
        raise UsageError(
            f"{recording.source} has no `input`: it cannot be compared",
            hint="record with the script that `porter record` prints",
        )
    shown = ", ".join(str(type) for type in leaves(types_of(recording.input)))
    return [(Sample(f"recorded {shown}", recording.input), recording), *seeded]


def batched_type(model: Model, types: Nested[TensorType]) -> Nested[TensorType]:
    """With a batch in front, where Torch was fed one image without and the model takes both.

    And of integers where the model takes indices: Torch's recording has them as floats.
    """
    hint = hint_of(model)
    if not isinstance(types, TensorType) or hint is None:
        return types
    told = replace(types, dtype=hint.dtype)
    types = told if accepts(model, told) else types
    if hint.rank == types.rank + 1:
        fuller = replace(types, shape=(1, *types.shape))
        return fuller if accepts(model, fuller) else types
    return types


def batched(model: Model, shapes: Shapes) -> Nested[TensorType]:
    """The types to emit for: with a batch of two, so that no module drops a batch of one."""
    types = map_leaves(lambda type: with_batch(type, 2), shapes.types[0])
    return types if accepts(model, types) else shapes.types[0]


def checks(
    port: Port, checked: list[tuple[Sample, Recording | None]], reports: list[Report]
) -> tuple[VerificationSample, ...]:
    """What emitted models are compared on: stored inputs, and the oracle's outputs.

    Samples whose sizes the emitted signature does not take (another batch where it is fixed) are
    left out. Raises ParityError if none remains.
    """
    fitting = tuple(
        VerificationSample(
            report.input,
            store_named(port.plan, sample),
            report.wanted,
            report.allowed,
            recording is not None,
        )
        for (sample, recording), report in zip(checked, reports, strict=False)
        if fits(port.graph, sample)
    )
    if not fitting:
        raise ParityError("no verification input fits the emitted signature")
    return fitting


def fits(graph: Graph, sample: Sample) -> bool:
    """Whether a sample can be fed to the emitted signature, a batch of one added if need be."""
    return all(
        value.type.rank - array.ndim in (0, 1)
        and all(
            size is None or size == extent
            for size, extent in zip(value.type.shape[::-1], array.shape[::-1], strict=False)
        )
        for value, array in zip(leaves(graph.inputs), leaves(sample.arrays), strict=True)
    )


def store_named(layout: Plan, sample: Sample) -> dict[str, Array]:
    """A sample as the signature's named inputs, in stored order."""
    from porter.runtime.runner import store

    stored: dict[str, Array] = {}
    named = named_leaves(layout.graph.inputs, "input")
    for (name, value), array in zip(named, leaves(sample.arrays), strict=True):
        full = array if array.ndim == value.type.rank else array[None]
        stored[name] = np.asarray(store(full, value, layout.inputs[value.id], "float32"))
    return stored
