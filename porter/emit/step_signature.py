"""The signature `step` of a SavedModel: a language model that goes on where it stopped.

`token` (N×T indices) and `state_1`, `state_2`, … to `output` and the states after the last token.
Zeros start a text. `docs/serving.md` shows how to sample one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from porter.emit.port import build_widest
from porter.emit.subprocess_runner import run_saved_model
from porter.errors import PorterError
from porter.frontend.stepping import resumable, with_states
from porter.ir.fields import Array
from porter.ir.graph import INT, TensorType, Value
from porter.ir.nested import leaves
from porter.parity.compare import bind
from porter.parity.measure import Measure, compare
from porter.runtime import reference
from porter.system.tensorflow import tf

if TYPE_CHECKING:
    from pathlib import Path

    from porter.emit.formats import ExportJob

NAME = "step"
SAME_FUNCTION = 1e-3
"""Error, of the scale, by which another function is told from rounding in a recorded output."""


def state_types(job: ExportJob) -> list[TensorType]:
    """The states of a model whose only input is indices, as many as one likes; else none.

    None either where a text read in two parts makes something else than the whole: behind a layer
    that reads backwards, looks ahead or keeps the last step alone.
    """
    tokens, value = job.types, job.port.graph.inputs
    if not isinstance(tokens, TensorType) or not isinstance(value, Value):
        return []
    if tokens.dtype != INT or value.type.shape != (None, None):
        return []
    states = with_states(job.model, tokens)[1:]
    return states if states and same_in_parts(job, states) else []


def same_in_parts(job: ExportJob, states: list[TensorType]) -> bool:
    """Whether the layers' references make the same of a text in two parts as of the whole."""
    text, expected = long_text(job)
    if expected.shape[:2] != text.shape or not isinstance(job.port.graph.outputs, Value):
        return False
    outputs, current = [], [np.zeros((len(text), *state.static[1:])) for state in states]
    try:
        for part in halves(text):
            walked = resumable(job.model)
            graph = walked.walk([*with_states(walked, TensorType(part.shape, INT))])
            values = reference.run(graph, bind(graph.inputs, [part, *current]))
            output, *current = (values[value.id] for value in leaves(graph.outputs))
            if output.shape != (*part.shape, *expected.shape[2:]):
                return False
            outputs.append(output)
    except PorterError:  # Half a text may be too short for a window, and is no language model's.
        return False
    return compare(expected, np.concatenate(outputs, axis=1)).within(SAME_FUNCTION)


def long_text(job: ExportJob) -> tuple[Array, Array]:
    """A sample of several tokens, and what the oracle made of it."""
    check = next(check for check in job.checks if check.inputs["input"].shape[1] > 1)
    return check.inputs["input"], check.expected[0]


def halves(text: Array) -> list[Array]:
    """A text N×T, cut in the middle."""
    return np.split(text, [text.shape[1] // 2], axis=1)


def step_signature(job: ExportJob) -> Any:
    """The traced signature of a model that has states (`state_types`)."""
    assert isinstance(job.types, TensorType)
    # Two samples of three tokens: sizes that are unlike each other are told apart.
    tokens = TensorType((2, 3), INT)
    types = with_states(job.model, tokens)
    port = build_widest(resumable(job.model), [*types], job.port.variables, job.options)
    states = [f"state_{number}" for number in range(1, len(types))]
    specs = [
        tf.TensorSpec(spec.shape, spec.dtype, name=name)
        for spec, name in zip(port.module.serve.input_signature, ["token", *states], strict=True)
    ]

    def step(*tensors: Any) -> dict[str, Any]:
        outputs = port.module.serve(*tensors).values()
        return {
            name: tf.identity(tensor, name=name)
            for name, tensor in zip(["output", *states], outputs, strict=True)
        }

    return tf.function(step, input_signature=specs, autograph=False).get_concrete_function()


def verify_steps(job: ExportJob, folder: Path, types: list[TensorType]) -> Measure:
    """What was written goes on in the middle of a text, and makes of it what the oracle did.

    `types` are those of its states.
    """
    text, expected = long_text(job)
    states = {
        f"state_{number}": np.zeros((len(text), *type.static[1:]), np.float32)
        for number, type in enumerate(types, start=1)
    }
    outputs = []
    for part in halves(text):
        (result,) = run_saved_model(folder, [{"token": part, **states}], NAME)
        outputs.append(result["output"])
        states = {name: result[name] for name in states}
    return compare(expected, np.concatenate(outputs, axis=1))
