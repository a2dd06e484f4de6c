"""A layer on concrete inputs, and what it would compute if one thing were different."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from porter.ir.fields import Array
from porter.ir.graph import FLOAT, TensorType
from porter.ir.layer_map import LayerMap
from porter.ir.layout import Layout

Arrays = tuple[Array, ...]
MAX_ELEMENTS = 2**26
"""Largest output that a hypothesis may compute."""


@dataclass(frozen=True)
class Situation:
    """A layer on concrete inputs, in Torch's order, and the layouts in which TensorFlow ran it."""

    op: LayerMap
    inputs: Arrays
    layouts: tuple[Layout, ...] = ()
    output_layouts: tuple[Layout, ...] = ()
    of_oracle: bool = False
    """Whether the oracle's output is to be explained, and not the port's."""

    def run(self, op: LayerMap | None = None, inputs: Arrays | None = None) -> Arrays:
        """What the reference makes, of a changed layer or of changed inputs.

        The shape rule is asked first: it refuses settings with which the reference never ends.
        """
        op, arrays = op or self.op, self.inputs if inputs is None else inputs
        types = op.output_types(*(TensorType(x.shape, FLOAT) for x in arrays))
        if sum(math.prod(type.static) for type in types) > MAX_ELEMENTS:
            raise ValueError("a setting that makes a much larger output explains nothing")
        outputs = op.reference(*arrays)
        return tuple(outputs) if isinstance(outputs, tuple) else (outputs,)


@dataclass(frozen=True)
class Hypothesis:
    """A clause that follows "when", and the reference's outputs if it is true."""

    cause: str
    outputs: Callable[[], Arrays]


def varied(at: Situation, cause: str, name: str, value: Any) -> Hypothesis:
    """The layer with one field or parameter changed."""

    def outputs() -> Arrays:
        return at.run(at.op.evolve(**{name: value}))

    return Hypothesis(cause, outputs)
