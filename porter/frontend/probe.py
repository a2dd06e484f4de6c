"""Find out what each of several inputs must be, by walking a model with nothing known.

An input starts without a type. Containers and wiring pass it on; the first layer that computes with
it tells what it takes, and the walk begins anew with that much known, until it ends.
"""

from __future__ import annotations

from dataclasses import replace

from porter.errors import WalkError
from porter.frontend.memory import TorchTensor
from porter.frontend.walker import Model, Walk
from porter.ir.graph import FLOAT, TensorType, Value
from porter.ir.layer_map import LayerMap
from porter.ir.nested import Nested

UNKNOWN = TensorType((), "unknown")
MAX_INPUTS = 32


class Wanted(WalkError):
    """A layer computes with an input whose type is not known yet, and says what it takes."""

    def __init__(self, value: Value, type: TensorType) -> None:
        super().__init__("an input's type is not known")
        self.value = value
        self.type = type


class Probe(Walk):
    """A walk that stops at the first layer that is given an unknown input."""

    def call_op(self, op: LayerMap, inputs: list[TorchTensor]) -> tuple[Value, ...]:
        values = [tensor.value for tensor in inputs]
        unknown = next((value for value in values if value.type == UNKNOWN), None)
        if unknown is None:
            return super().call_op(op, inputs)
        hint = op.input_hint() or next((v.type for v in values if v.type != UNKNOWN), None)
        if hint is None:
            raise WalkError(f"{op.typename} works on whatever it is given")
        raise Wanted(unknown, hint)


def input_types(model: Model, batch: int, size: tuple[int, int]) -> Nested[TensorType] | None:
    """Types of all inputs for a batch and an image size, or None if they cannot be found out."""
    for count in range(2, MAX_INPUTS + 1):
        types = [UNKNOWN] * count
        for _ in range(count + 1):
            try:
                model.walk_with(Probe, list(types))
                return list(types)
            except Wanted as wanted:
                # Inputs are the first values that a walk makes, numbered from 1.
                position = wanted.value.id - 1
                if position >= count:
                    break
                types[position] = concrete(wanted.type, batch, size)
            except WalkError:
                break
    return None


def concrete(hint: TensorType, batch: int, size: tuple[int, int]) -> TensorType:
    """A hint with its free sizes filled in: batch first, then height and width."""
    free = iter((*size, *size) if hint.rank < 4 or hint.dtype != FLOAT else size)
    shape = tuple(
        extent if extent is not None else batch if axis == 0 else next(free, size[0])
        for axis, extent in enumerate(hint.shape)
    )
    return replace(hint, shape=shape)
