"""Why a layer differs: which change of the reference explains the numbers.

A verdict says that a layer is wrong; this module looks for the cause. Every hypothesis is tried in
NumPy, and the one that reproduces the port's output, or the oracle's, becomes a hint together with
the measured errors. A hint never changes a verdict.

Hypotheses come from the declarations of a layer map alone (its fields, the axes of its parameters,
the layouts in which it ran), so that a user's own map gets them too.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from porter.errors import InvariantError, PorterError
from porter.ir.graph import FLOAT
from porter.ir.layout import Step
from porter.parity.diagnosis.data import about_inputs, about_layouts, about_outputs
from porter.parity.diagnosis.fields import about_fields, about_padding
from porter.parity.diagnosis.fits import fits
from porter.parity.diagnosis.parameters import about_parameters
from porter.parity.diagnosis.situation import Arrays, Hypothesis, Situation
from porter.parity.measure import relative_error

Suspect = Literal["port", "oracle"]

PATIENCE = 20.0
"""Seconds spent on one layer; hypotheses that remain after that are not tried."""
SAME = 3.0
"""Among explanations whose errors are within this factor, the first, simplest one is reported."""

IMPOSSIBLE = (
    *(ValueError, IndexError, TypeError, AttributeError, AssertionError, ArithmeticError),
    *(MemoryError, InvariantError, PorterError),
)
"""Raised by NumPy and the maps for a hypothesis that makes no sense here."""


@dataclass(frozen=True)
class Hint:
    """A cause and its evidence, in units of the layer's scale.

    `before` is the error of the unchanged reference against `side`'s numbers, `after` the error
    when `cause` is supposed: small enough to explain them.
    """

    cause: str
    side: Suspect
    before: float
    after: float

    def text(self) -> str:
        """The hint in one sentence."""
        whose = "the port's output" if self.side == "port" else "the oracle's output"
        before = f"{self.before:.0e}" if np.isfinite(self.before) else "another shape"
        return (
            f"{whose} is explained when {self.cause}: "
            f"the error drops from {before} to {self.after:.0e}"
        )


def explain(
    step: Step, inputs: Arrays, expected: Arrays, computed: Arrays, limit: float
) -> Hint | None:
    """The hypothesis that explains why TensorFlow's `computed` differs from the `expected` arrays.

    All arrays are in Torch's order. `limit` is the error up to which numbers count as the same.
    Returns None where nothing explains it.
    """
    node = step.node
    doubles = tuple(
        x.astype(np.float64) if value.dtype == FLOAT else x
        for x, value in zip(inputs, node.inputs, strict=True)
    )
    at = Situation(node.op, doubles, step.inputs, step.outputs)
    plain = attempt(Hypothesis("", at.run))
    if plain is None:
        return None
    # Where the reference agrees with the port, both contradict the oracle: explain the oracle.
    side: Suspect = "oracle" if error(computed, plain) <= limit else "port"
    target = expected if side == "oracle" else computed
    before = error(target, plain)
    if before <= limit:
        return None
    found = list(tried(replace(at, of_oracle=side == "oracle"), plain, target, limit))
    if not found:
        return None
    best = min(after for _, after in found)
    cause, after = next((c, a) for c, a in found if a <= SAME * best + np.finfo(np.float32).eps)
    return Hint(cause, side, before, after)


def tried(
    at: Situation, plain: Arrays, target: Arrays, limit: float
) -> Iterator[tuple[str, float]]:
    """Causes that explain the target, with the error that remains."""
    deadline = time.monotonic() + PATIENCE
    for hypothesis in itertools.chain(hypotheses(at, plain), fits(plain, target)):
        if time.monotonic() > deadline:
            return
        outputs = attempt(hypothesis)
        if outputs is not None:
            after = error(target, outputs)
            if after <= limit:
                yield hypothesis.cause, after


def hypotheses(at: Situation, outputs: Arrays) -> Iterator[Hypothesis]:
    """All without fitted numbers, simple ones first; `outputs` are those of the reference."""
    yield from about_fields(at)
    yield from about_parameters(at)
    yield from about_padding(at)
    yield from about_layouts(at)
    yield from about_inputs(at)
    yield from about_outputs(at, outputs)


def attempt(hypothesis: Hypothesis) -> Arrays | None:
    """The outputs under a hypothesis, or None where it makes no sense."""
    try:
        with np.errstate(all="ignore"):
            return tuple(np.asarray(y) for y in hypothesis.outputs())
    except IMPOSSIBLE:
        return None


def error(target: Arrays, outputs: Arrays) -> float:
    """The largest error over all outputs; infinite where their number or shapes differ."""
    if len(target) != len(outputs):
        return np.inf
    pairs = zip(target, outputs, strict=True)
    return max((relative_error(a.astype(np.float64), b) for a, b in pairs), default=0.0)
