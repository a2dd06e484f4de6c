"""Find several inputs one after the other, and go back where a later layer refuses an earlier size.

Nets with fixed batches and lengths (`nn.View(3, 6, 12)`) take inputs that fit each other only. The
inputs are found in the order in which layers read them. Each is given one size after the other,
until the walk comes to the next input, or to its end; the first sizes that do are the model's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from porter.errors import MALFORMED, ShapeMismatch, WalkError
from porter.frontend.batch_rows import Fit, fit_of, keeps_borders
from porter.frontend.memory import TorchTensor
from porter.frontend.probe import UNKNOWN, Probe, TypeNeeded, arranged, with_index_rank
from porter.frontend.walker import Model
from porter.ir.capabilities import TellsInput
from porter.ir.graph import FLOAT, Graph, TensorType, Value
from porter.ir.layer_map import LayerMap
from porter.ir.nested import Nested, leaves

BATCHES = (2, 3, 4, 1, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128)
"""Batches that are tried, where no other input tells."""
LENGTHS = (7, 5, *range(1, 65))
"""Other sizes: first two that leave room for layers that take single steps."""
PUBLISHED = (224, 256, 128, 64, 32, 192, 320, 384, 448, 512, 96, 48, 16)
SQUARES = tuple(dict.fromkeys((*PUBLISHED, *range(8, 321, 8), *range(1, 321))))
"""Heights and widths of images: those that published nets were made for first."""
PLANES = (3, 1, 2, 4)
"""Planes of images, where no layer tells them."""
PATIENCE = 3
"""How often a walk may end in the same way before other sizes of an input are not tried."""
MAX_CALLS = 15_000
"""Calls of modules that a search may make."""


class InputNeeded(WalkError):
    """A layer reads the input at `position`, which is one of `hints`."""

    def __init__(self, position: int, hints: Sequence[TensorType]) -> None:
        super().__init__(f"the type of input {position + 1} is not known")
        self.position = position
        self.hints = hints


class TracingProbe(Probe):
    """A probe that passes inputs on through layers that only rename axes, and refuses to cut
    samples.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.passed_on: dict[int, tuple[Value, TellsInput]] = {}
        """Of a value whose type is not known the one that it was made of, and by which layer."""

    def graph(self, inputs: Nested[TensorType]) -> Graph:
        try:
            return super().graph(inputs)
        except TypeNeeded as needed:
            raise self.traced(needed) from None

    def traced(self, needed: TypeNeeded) -> InputNeeded:
        """What must be known of an input for what a layer reads."""
        identity, reader = needed.position + 1, needed.reader
        hints = [reader.hint, with_index_rank(reader.hint, 1), reader.loose or reader.hint]
        if reader.hint.rank == 2 and reader.hint.dtype == FLOAT:
            hints.append(replace(reader.hint, shape=reader.hint.shape[1:]))
        while identity in self.passed_on:
            source, op = self.passed_on[identity]
            hints = [behind for each in hints if (behind := op.input_of(each)) is not None]
            identity = source.id
        return InputNeeded(identity - 1, list(dict.fromkeys(hints)))

    def call_op(self, op: LayerMap, inputs: list[TorchTensor]) -> tuple[Value, ...]:
        values = [tensor.value for tensor in inputs]
        if len(values) == 1 and values[0].type == UNKNOWN and isinstance(op, TellsInput):
            output = self.new_value(UNKNOWN)
            self.passed_on[output.id] = values[0], op
            return (output,)
        outputs = super().call_op(op, inputs)
        if op.regroups and not keeps_borders(values[0].shape, outputs[0].shape):
            raise ShapeMismatch("samples would be cut", received=str(values[0].type))
        return outputs


def traced_hints(model: Model) -> list[TensorType]:
    """What a model's only input may be, where layers that rename axes come before its reader."""
    try:
        model.walk_with(TracingProbe, UNKNOWN)
    except InputNeeded as needed:
        return list(needed.hints)
    except WalkError:
        pass
    return []


@dataclass(frozen=True)
class Failure:
    """After how many calls a walk ended, and why."""

    calls: int
    reason: str


@dataclass
class Backtracking:
    """A search for all inputs of a model, of a known structure."""

    model: Model
    structure: Nested[TensorType]
    least: Fit
    """How well the inputs must suit the model."""
    limit: int = field(init=False)

    def __post_init__(self) -> None:
        self.limit = self.model.calls + MAX_CALLS

    def types(self) -> Nested[TensorType] | None:
        """Types with which the model can be walked, if some are found."""
        found = self.completed(list(leaves(self.structure)))
        return None if isinstance(found, Failure) else arranged(self.structure, found)

    def completed(self, types: list[TensorType]) -> list[TensorType] | Failure:
        """The types with those that are not known yet, or how the trial that came farthest ended.

        Where that is the same for one size after the other, an earlier input is the wrong one.
        """
        before, nested = self.model.calls, arranged(self.structure, types)
        try:
            self.model.walk_with(TracingProbe, nested)
        except InputNeeded as needed:
            farthest, times = Failure(0, ""), 0
            for candidate in candidates(needed.hints, [type for type in types if type.rank]):
                if self.model.calls > self.limit or times == PATIENCE:
                    break
                trial = [*types[: needed.position], candidate, *types[needed.position + 1 :]]
                found = self.completed(trial)
                if not isinstance(found, Failure):
                    return found
                if found == farthest:
                    times += 1
                elif found.calls >= farthest.calls:
                    farthest, times = found, 1
            return farthest
        except MALFORMED:
            raise
        except WalkError as error:
            return Failure(self.model.calls - before, str(error))
        fits = (
            UNKNOWN not in types
            and fit_of(self.model.walk(nested), types[0].shape[0]) >= self.least
        )
        return types if fits else Failure(self.model.calls - before, "samples are cut")


def candidates(hints: Sequence[TensorType], others: Sequence[TensorType]) -> Iterator[TensorType]:
    """Types that go with one of some hints; `others` are those of the inputs that are known.

    An input may be just like another one, and has its batch.
    """
    yield from (type for type in others if any(like(type, hint) for hint in hints))
    batches = BATCHES if not others else tuple(dict.fromkeys((others[0].shape[0], *LENGTHS)))
    for hint in hints:
        if hint.rank == 4 and hint.dtype == FLOAT and hint.shape[2:] == (None, None):
            all_planes = PLANES if hint.shape[1] is None else hint.shape[1:2]
            # A batch of one is all that nn.View(-1) keeps apart.
            for batch in batches[:1] if others else (batches[0], 1):
                for edge, planes in product(SQUARES, all_planes):
                    yield replace(hint, shape=(hint.shape[0] or batch, planes, edge, edge))
            continue
        sizes = [
            (size,) if size is not None else batches if axis == 0 else LENGTHS
            for axis, size in enumerate(hint.shape)
        ]
        for shape in product(*sizes):
            yield replace(hint, shape=shape)


def like(type: TensorType, hint: TensorType) -> bool:
    """Whether a hint admits a type."""
    return type.dtype == hint.dtype and hint.admits(type.static)
