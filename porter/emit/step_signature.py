"""The signature `step` of a SavedModel: a language model that goes on where it stopped.

`token` (N×T indices) and `state_1`, `state_2`, … to `output` and the states after the last token.
Zeros start a text. `docs/serving.md` shows how to sample one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from porter.emit.port import build_widest
from porter.emit.subprocess_runner import run_saved_model
from porter.frontend.stepping import resumable, with_states
from porter.ir.graph import INT, TensorType, Value
from porter.parity.measure import Measure, compare
from porter.system.tensorflow import tf

if TYPE_CHECKING:
    from pathlib import Path

    from porter.emit.formats import ExportJob

NAME = "step"


def state_types(job: ExportJob) -> list[TensorType]:
    """The states of a model whose only input is indices, as many as one likes; else none."""
    tokens, value = job.types, job.port.graph.inputs
    if not isinstance(tokens, TensorType) or not isinstance(value, Value):
        return []
    if tokens.dtype != INT or value.type.shape != (None, None):
        return []
    return with_states(job.model, tokens)[1:]


def step_signature(job: ExportJob) -> Any:
    """The traced signature."""
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


def verify_steps(job: ExportJob, folder: Path) -> Measure:
    """What was written goes on in the middle of a text, and makes of it what the oracle did."""
    check = next(check for check in job.checks if check.inputs["input"].shape[1] > 1)
    tokens, (expected,) = check.inputs["input"], check.expected
    states = {
        f"state_{number}": np.zeros((len(tokens), *type.static[1:]), np.float32)
        for number, type in enumerate(state_types(job), start=1)
    }
    outputs = []
    for part in np.split(tokens, [tokens.shape[1] // 2], axis=1):
        (result,) = run_saved_model(folder, [{"token": part, **states}], NAME)
        outputs.append(result["output"])
        states = {name: result[name] for name in states}
    return compare(expected, np.concatenate(outputs, axis=1))
