"""Find out what each input of a model must be, by walking it with nothing known.

An input starts without a type. Containers and wiring pass it on, and so do layers that compute
number by number or pad planes; the first layer that needs more tells what it takes, and the walk
begins anew with that much known, until it ends. Where a module asks for a table, an input becomes
one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from porter.errors import MALFORMED, BadTable, WalkError
from porter.frontend.memory import TorchTensor
from porter.frontend.walker import Model, Walk
from porter.ir.capabilities import HintsInputs
from porter.ir.graph import FLOAT, INT, Graph, Shape, TensorType, Value
from porter.ir.layer_map import Accepts, LayerMap
from porter.ir.nested import Nested, leaves, map_leaves
from porter.torch7 import Tensor, TorchObject

UNKNOWN = TensorType((), "unknown")
MAX_INPUTS = 32
MAX_ENTRIES = 8
"""Tensors in a table that is one of several inputs: the states of a few recurrent layers."""


@dataclass(frozen=True)
class Reader:
    """What tells the type of an input: the first layer that computes with it (`None`: any size).

    Without a layer, `op`, the module handed the input on, and left its shape in the file. `loose`
    is what the layer takes besides an input like its others: one of another length to be joined.
    """

    op: LayerMap | None
    module: TorchObject
    hint: TensorType
    loose: TensorType | None = None


class TypeNeeded(WalkError):
    """A layer computes with the input at `position`, whose type is not known yet."""

    def __init__(self, position: int, reader: Reader) -> None:
        super().__init__(f"the type of input {position + 1} is not known")
        self.position = position
        self.reader = reader


Fill = Callable[[TypeNeeded], TensorType]
"""Chooses the free sizes of what a reader takes."""


class Probe(Walk):
    """A walk that stops at the first layer that needs to know the type of an input."""

    def __call__(self, module: TorchObject, x: Nested[Value], at: str = "") -> Nested[Value]:
        output = super().__call__(module, x, at)
        if output is x and isinstance(x, Value) and x.type == UNKNOWN:
            shape = left_shape(module, "output")
            if shape is not None:
                raise TypeNeeded(x.id - 1, Reader(None, module, TensorType(shape)))
        return output

    def graph(self, inputs: Nested[TensorType]) -> Graph:
        """Walk from the root. What comes of it is no graph: layers may be left out."""
        values = map_leaves(self.new_value, inputs)
        self(self.model.root, values)
        return Graph(values, (), values)

    def call_op(self, op: LayerMap, inputs: list[TorchTensor]) -> tuple[Value, ...]:
        values = [tensor.value for tensor in inputs]
        types = [None if value.type == UNKNOWN else value.type for value in values]
        if None not in types:
            return super().call_op(op, inputs)
        if len(types) < op.arity()[0]:
            raise BadTable(f"{op.typename} should be given a table")
        position = types.index(None)
        shared = next((each for each in types if each is not None), None)
        hint = op.input_hint_at(position, types) if isinstance(op, HintsInputs) else None
        alike = hint and shared and hint.dtype == shared.dtype and hint.admits(shared.static)
        loose, hint = (hint, shared) if alike else (None, hint or shared)
        if hint is not None:
            # Inputs are the first values of a walk, numbered from 1.
            raise TypeNeeded(values[position].id - 1, Reader(op, self.active[-1], hint, loose))
        if op.accepts is Accepts.ELEMENTWISE or op.keeps_planes:
            return (values[position],)
        raise WalkError(f"{op.typename} works on whatever it is given")


def left_shape(module: TorchObject, name: str) -> Shape | None:
    """The shape of a tensor that Torch left in a field, if it was not cleared."""
    tensor = module.get(name)
    return tensor.shape if isinstance(tensor, Tensor) and tensor.numel else None


def first_reader(model: Model) -> Reader | None:
    """The first layer that computes with a model's only input, where it tells what it takes."""
    try:
        model.walk_with(Probe, UNKNOWN)
    except TypeNeeded as needed:
        return needed.reader
    except WalkError:
        pass
    return None


@dataclass
class Outcome:
    """How far a walk came: through `calls` calls, with `types`, until `error` if there was one."""

    types: list[TensorType]
    calls: int
    error: WalkError | None = None


@dataclass
class InputProbe:
    """What the inputs of a model are, for one choice of sizes after the other.

    The structure (which inputs there are, and which of them are tables) is found once: the one that
    comes farthest, else the first in which no table is missing.
    """

    model: Model
    structure: Nested[TensorType] = field(default_factory=lambda: UNKNOWN)
    found: list[TensorType] = field(default_factory=list)
    """The types of the last choice, as far as they were told."""

    def types(self, fill: Fill) -> Nested[TensorType] | None:
        """Types of all inputs with which the model can be walked, or None."""
        outcome = self.attempt(self.structure, fill)
        while isinstance(outcome.error, BadTable):
            better, likely = None, None
            for trial in enlarged(self.structure, outcome.types):
                other = self.attempt(trial, fill)
                if likely is None and not isinstance(other.error, BadTable):
                    likely = other, trial
                if other.calls > (better or outcome).calls or other.error is None:
                    better, self.structure = other, trial
                if other.error is None:
                    break
            if better is None:
                if likely is None:
                    break
                better, self.structure = likely
            outcome = better
        self.found = outcome.types
        if outcome.error is not None or UNKNOWN in outcome.types:
            return None
        return arranged(self.structure, outcome.types)

    def attempt(self, structure: Nested[TensorType], fill: Fill) -> Outcome:
        """Walk with inputs of one structure; each reader's input is filled in on the way."""
        types = list(leaves(structure))
        for _ in range(len(types) + 1):
            before = self.model.calls
            try:
                self.model.walk_with(Probe, arranged(structure, types))
            except TypeNeeded as needed:
                types[needed.position] = fill(needed)
            except MALFORMED:
                raise
            except WalkError as error:
                return Outcome(types, self.model.calls - before, error)
            else:
                break
        return Outcome(types, self.model.calls - before)


def arranged(structure: Nested[TensorType], types: list[TensorType]) -> Nested[TensorType]:
    """A flat list of types in a structure with as many leaves."""
    in_order = iter(types)
    return map_leaves(lambda _: next(in_order), structure)


def enlarged(
    structure: Nested[TensorType], types: list[TensorType]
) -> Iterator[Nested[TensorType]]:
    """Structures with one table more, or a longer one; `types` tells which leaves are known."""
    if structure == UNKNOWN:
        for count in range(2, MAX_INPUTS + 1):
            yield [UNKNOWN] * count
        return
    assert isinstance(structure, list)
    in_order = iter(types)
    for position, entry in enumerate(structure):
        unread = [next(in_order) == UNKNOWN for _ in leaves(entry)]
        shortest = len(entry) + 1 if isinstance(entry, list) else 2
        for count in range(shortest, MAX_ENTRIES + 1) if any(unread) or shortest > 2 else ():
            yield [*structure[:position], [UNKNOWN] * count, *structure[position + 1 :]]


def concrete(hint: TensorType, batch: int, size: tuple[int, int]) -> TensorType:
    """A hint with its free sizes filled in: batch first, then height and width."""
    free = iter((*size, *size) if hint.rank < 4 or hint.dtype != FLOAT else size)
    shape = tuple(
        extent if extent is not None else batch if axis == 0 else next(free, size[0])
        for axis, extent in enumerate(hint.shape)
    )
    return replace(hint, shape=shape)


def with_index_rank(hint: TensorType, rank: int) -> TensorType:
    """A hint of indices that may be a vector or a matrix, with so many dimensions."""
    either = hint.dtype == INT and hint.shape == (None, None)
    return replace(hint, shape=hint.shape[:rank]) if either and rank < 2 else hint
