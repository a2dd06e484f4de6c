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
    hint_of,
    samples,
    types_of,
    with_batches,
    with_indices,
)
from porter.frontend.misread_indices import misread
from porter.frontend.open_tables import as_emitted
from porter.frontend.search import shapes_for, solve
from porter.frontend.walker import Model
from porter.ir.fields import Array
from porter.ir.graph import Graph, TensorType
from porter.ir.layout import Plan
from porter.ir.nested import Nested, leaves, named_leaves
from porter.parity.compare import Report
from porter.parity.recording import Recording

if TYPE_CHECKING:
    from porter.emit.port import Port


def input_shapes(model: Model, request: Request) -> Shapes:
    """Input types: the user's, the recording's, or solved from the model."""
    if request.input_shapes:
        shapes = shapes_for(model, request.input_shapes)
        return replace(shapes, solved=f"given: {shown(shapes.types[0])}")
    if request.reference is not None and request.reference.input is not None:
        types = types_of(request.reference.input)
        model.walk(types)
        return Shapes((batched_type(model, types),), f"as recorded: {shown(types)}")
    return solve(model)


def shown(types: Nested[TensorType]) -> str:
    """Types as they are told to people."""
    return ", ".join(str(type) for type in leaves(types))


def verification_inputs(
    model: Model, shapes: Shapes, request: Request
) -> list[tuple[Sample, Recording | None]]:
    """Seeded inputs, and first what Torch recorded, if there is a recording.

    Raises UsageError where seeded inputs do not become indices that there are, and no recording has
    some that do.
    """
    recording = request.reference
    seeded: list[tuple[Sample, Recording | None]] = []
    for sample in samples(model, shapes, request.options.seed):
        found = misread(model.walk(types_of(sample.arrays)), sample.arrays)
        if found is None:
            seeded.append((sample, None))
        elif recording is None:
            raise UsageError(
                "porter cannot make up inputs that fit: the layers in front of this one compute "
                "other numbers than its indices",
                where=f"{found.reader.path or 'the root'} ({found.reader.typename})",
                received=f"index {found.received:g} of {found.least} to {found.largest}",
                hint="`porter record -o record.lua` writes a script that records an input of yours "
                "in Torch; convert with `reference=recording.t7`",
            )
    if recording is None:
        return seeded
    if recording.input is None:
        raise UsageError(
            f"{recording.source} has no `input`: it cannot be compared",
            hint="record with the script that `porter record` prints",
        )
    label = f"recorded {shown(types_of(recording.input))}"
    return [(Sample(label, recording.input), recording), *seeded]


def batched_type(model: Model, types: Nested[TensorType]) -> Nested[TensorType]:
    """With a batch in front, where Torch was fed one image without and the model takes both.

    And of integers where the model takes indices: Torch's recording has them as floats.
    """
    if isinstance(types, TensorType):
        hint = hint_of(model)
        fuller = replace(types, shape=(1, *types.shape))
        if hint is not None and hint.rank == fuller.rank and accepts(model, fuller):
            types = fuller
    return with_indices(model, types)


def emitted_types(model: Model, shapes: Shapes) -> Nested[TensorType]:
    """The types to emit for: with a batch of two, so that no module drops a batch of one."""
    return with_batches(model, shapes.types[0], 2)


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
            as_emitted(port.graph, report.graph, report.expected),
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
    return admits(graph, types_of(sample.arrays))


def admits(graph: Graph, types: Nested[TensorType]) -> bool:
    """Whether inputs of these types can be fed to a graph, a batch of one added if need be."""
    return all(
        value.type.admits(type.static) or value.type.admits((1, *type.static))
        for value, type in zip(leaves(graph.inputs), leaves(types), strict=True)
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
