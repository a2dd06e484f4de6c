"""What to feed a model for verification: what it accepts or the user requests, seeded numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from porter.errors import MALFORMED, PorterError, UsageError, WalkError
from porter.frontend.batch_of_one import first_difference
from porter.frontend.index_inputs import IndexRange, index_inputs, number_readers
from porter.frontend.module_tree import submodules
from porter.frontend.probe import (
    UNKNOWN,
    InputProbe,
    TypeNeeded,
    arranged,
    concrete,
    first_reader,
    with_index_rank,
)
from porter.frontend.walker import Model
from porter.ir.capabilities import HintsInput
from porter.ir.fields import Array
from porter.ir.graph import FLOAT, INT, Graph, Shape, TensorType
from porter.ir.map_errors import attribute_errors
from porter.ir.nested import Nested, leaves, map_leaves
from porter.ir.registry import is_layer_map
from porter.runtime import memory
from porter.torch7 import TorchObject

EXAMPLES = {1: (20,), 2: (1, 20), 3: (1, 20, 40), 4: (3, 256, 256)}
"""Shapes that stand as examples of inputs of a rank; that of images leaves out the batch."""
LETTERS = {
    1: ("L",),
    2: ("N", "F"),
    3: ("N", "T", "F"),
    4: ("C", "H", "W"),
    5: ("C", "D", "H", "W"),
}
"""What the sizes of inputs of a rank are called in a command; those of images leave out the batch.
"""
INDEX_LETTERS = {1: ("T",), 2: ("N", "T")}
NO_SHAPE = "SHAPE"
"""What stands in a command for a shape of which nothing is known."""
GIVE_SHAPE = "give the input's shape in Torch's order with `input_shapes=`"
DTYPES = {"int": INT, "float": FLOAT}
"""What may follow a shape: `5x3:int`."""
SCALES = (255.0, 15.0, 1.0)
"""The largest number of a sample of large numbers, and what is tried where a net overflows."""

RequestedShape = Shape | TensorType
"""A shape as the user gives it: with a dtype where that was said, too."""


@dataclass(frozen=True)
class Sample:
    """One verification input in Torch's order. `scale` is the largest number of a large sample.

    `indices` counts, from 0, the tensors that are read as indices.
    """

    label: str
    arrays: Nested[Array]
    scale: float = 1.0
    indices: frozenset[int] = frozenset()

    def milder(self, where: str) -> Sample:
        """The sample with smaller numbers, since the net overflows in module `where`."""
        scale, position = next(scale for scale in SCALES if scale < self.scale), itertools.count()

        def scaled(array: Array) -> Array:
            kept = next(position) in self.indices or not np.issubdtype(array.dtype, np.floating)
            return array if kept else (array * (scale / self.scale)).astype(array.dtype)

        shown = f" ×{scale:g}" if scale > 1 else ""
        label = self.label.replace(f" ×{self.scale:g}", shown, 1)
        note = f" (at ×{self.scale:g} module {where or 'the root'} overflows)"
        return replace(
            self, label=label + note, arrays=map_leaves(scaled, self.arrays), scale=scale
        )


@dataclass(frozen=True)
class Shapes:
    """Inputs that a model accepts (each may be a table). `solved` says how a size was found."""

    types: tuple[Nested[TensorType], ...]
    solved: str = ""


def types_of(arrays: Nested[Array]) -> Nested[TensorType]:
    """Shapes and dtypes of arrays; every integer dtype is an index."""

    def one(array: Array) -> TensorType:
        floating = np.issubdtype(array.dtype, np.floating)
        return TensorType(tuple(array.shape), FLOAT if floating else INT)

    return map_leaves(one, arrays)


def hint_of(model: Model) -> TensorType | None:
    """What the model's input must be as far as its layers tell, a free size being None."""
    reader = first_reader(model)
    return stated_hint(model) if reader is None or reader.op is None else reader.hint


def stated_hint(model: Model) -> TensorType | None:
    """What the model's first layer with an opinion takes."""
    return next(stated_hints(model), None)


def stated_hints(model: Model) -> Iterator[TensorType]:
    """What the model's layers with an opinion take, a step of time put in front."""
    above: dict[str, int] = {}
    for path, module in submodules(model.root):
        parent = path.rpartition(".")[0]
        steps = above.get(parent, 0) if path else 0
        above[path] = steps + model.registry.runs_over_time(module.typename)
        if module.typename in model.registry and is_layer_map(model.registry[module.typename]):
            hint = hint_at(model, path, module)
            if hint is not None and steps:
                features = [size for size in hint.shape[-1:] if size is not None]
                yield replace(hint, shape=(None, None, *features))
            elif hint is not None:
                yield hint


def hint_at(model: Model, path: str, module: TorchObject) -> TensorType | None:
    """What one layer takes. Raises the error of a malformed one, with its path."""
    try:
        with attribute_errors(model.handler(module), path, module.typename):
            op = model.op(module)
            return op.input_hint() if isinstance(op, HintsInput) else None
    except PorterError as error:
        error.where = error.where or f"{path or 'the root'} ({module.typename})"
        raise


def accepts(model: Model, type: Nested[TensorType]) -> bool:
    """Whether the model can be walked with an input of this type. Raises what no input mends."""
    return walked(model, type) is not None


def walked(model: Model, type: Nested[TensorType]) -> Graph | None:
    """The walk with this type, where the model accepts it. Raises what no input mends."""
    try:
        return model.walk(type)
    except MALFORMED:
        raise
    except WalkError:
        return None


def plane_counts(expected: int | None) -> Iterator[int]:
    """Numbers of planes to try: a layer before the first convolution may add or remove some."""
    if expected is not None:
        yield expected
    for count in (3, 1, 2, 4):
        if count != expected:
            yield count


def shape_template(hint: TensorType) -> str:
    """A type with letters for the sizes that are not known, as a user fills them in: `3xHxW`."""
    letters = INDEX_LETTERS if hint.dtype == INT else LETTERS
    names = letters.get(hint.rank, tuple(f"SIZE{axis + 1}" for axis in range(hint.rank)))
    known = hint.shape[hint.rank - len(names) :]
    extents = (str(size or name) for size, name in zip(known, names, strict=True))
    return "x".join(extents) + (":int" if hint.dtype == INT else "")


def parse_shape(text: str) -> RequestedShape:
    """`3x256x256` or `1,3,256,256` as integers, `5x3:int` as a type. Raises UsageError."""
    extents, colon, dtype = text.lower().replace("×", "x").replace(",", "x").partition(":")
    parts = extents.split("x")
    positive = all(part.strip().isdecimal() and int(part) > 0 for part in parts)
    if not positive or (colon and dtype.strip() not in DTYPES):
        raise UsageError(
            "an input shape is positive integers joined by x, perhaps with :int or :float",
            received=text,
            hint="try 3x256x256, or 5x3:int for indices",
        )
    shape = tuple(int(part) for part in parts)
    return TensorType(shape, DTYPES[dtype.strip()]) if colon else shape


def shown_shape(type: TensorType) -> str:
    """A type as `parse_shape` reads it."""
    extents = "x".join(str(size) for size in type.shape)
    return extents if type.dtype == FLOAT else f"{extents}:int"


def requested(model: Model, shapes: Sequence[RequestedShape]) -> Shapes:
    """The types of shapes that the user requests, one for each input of the model.

    A shape without batch gets one in front where the model takes a batch. What the user does not
    say is found out: which inputs are indices, and which of them make up a table. Raises the
    WalkError that the model raises on these shapes.
    """
    if len(shapes) > 1:
        return Shapes((with_indices(model, arranged_as(model, shapes), shapes),))
    (shape,) = shapes
    if isinstance(shape, TensorType) and shape.dtype != FLOAT:
        return Shapes((with_indices(model, shape, shapes),))
    hint = hint_of(model)
    whole = shape if isinstance(shape, TensorType) else TensorType(shape)
    if whole is not shape and hint is not None:
        whole = replace(whole, dtype=hint.dtype)
    batchless = hint is not None and hint.rank == whole.rank + 1
    tries = [replace(whole, shape=(1, *whole.shape)), whole]
    for type in tries if batchless else reversed(tries):
        if accepts(model, type):
            return Shapes((with_indices(model, type, shapes),))
    model.walk(tries[0] if batchless else tries[1])
    raise AssertionError("a walk that was refused was accepted the second time")


def arranged_as(model: Model, shapes: Sequence[RequestedShape]) -> Nested[TensorType]:
    """Several shapes in the structure that the model takes: some of them may form a table.

    Those that lack a batch get one in front: that of the others if they have one.
    """
    flat = [each if isinstance(each, TensorType) else TensorType(each) for each in shapes]
    batches = dict.fromkeys((1, *(type.static[0] for type in flat if type.rank > 1)))
    structures = structures_of(model, len(flat))
    tries = [batched_as(model, each, flat, batch) for batch in batches for each in structures]
    tries += [arranged(structure, flat) for structure in structures]
    return next((types for types in tries if accepts(model, types)), tries[0])


def structures_of(model: Model, count: int) -> list[Nested[TensorType]]:
    """In what tables a model may take so many tensors: a flat one, and what is found by probing."""
    found: list[Nested[TensorType]] = [[UNKNOWN] * count]
    for index_rank in (1, 2):
        probe = InputProbe(model)

        def fill(needed: TypeNeeded) -> TensorType:
            return concrete(with_index_rank(needed.reader.hint, index_rank), 2, (5, 7))  # noqa: B023

        probe.types(fill)
        if len(probe.found) == count and probe.structure not in found:
            found.append(probe.structure)
    return found


def batched_as(
    model: Model, structure: Nested[TensorType], flat: Sequence[TensorType], batch: int
) -> Nested[TensorType]:
    """The types in a structure, with a batch before those that their readers take one of.

    Indices stay as they are: they may be a vector as well as a batch of them.
    """
    types = list(flat)

    def fill(needed: TypeNeeded) -> TensorType:
        type, hint = flat[needed.position], needed.reader.hint
        if type.rank + 1 == hint.rank and FLOAT == type.dtype == hint.dtype:
            types[needed.position] = replace(type, shape=(batch, *type.shape))
        return types[needed.position]

    InputProbe(model).attempt(structure, fill)
    return arranged(structure, types)


def with_indices(
    model: Model, types: Nested[TensorType], shapes: Sequence[RequestedShape] = ()
) -> Nested[TensorType]:
    """The types with integers for every input that is read as indices, unless `shapes` says else.

    What is read as numbers, too, stays a tensor of floats, as in Torch. Raises the WalkError that
    the model raises on the types, and UsageError where integers are stated that are read as floats.
    """
    graph = model.walk(types)
    indices, readers = index_inputs(graph), number_readers(graph)
    stated = [isinstance(shape, TensorType) for shape in shapes] or [False] * len(
        list(leaves(types))
    )
    in_order = zip(leaves(graph.inputs), stated, strict=False)

    def typed(type: TensorType) -> TensorType:
        value, is_stated = next(in_order)
        reader = readers.get(value.id)
        if is_stated and type.dtype == INT and reader is not None:
            raise UsageError(
                "integers are stated for an input that is read as numbers",
                where=f"{reader.path or 'the root'} ({reader.typename})",
                received=shown_shape(type),
                hint="leave out `:int`: indices may be floats, as in Torch",
            )
        if is_stated or (value.id not in indices and reader is None):
            return type
        return replace(type, dtype=INT if reader is None else FLOAT)

    with_integers = map_leaves(typed, types)
    return with_integers if accepts(model, with_integers) else types


def samples(model: Model, shapes: Shapes, seed: int) -> list[Sample]:
    """Three inputs: batch 1, 3 and 2 where the model has a batch; ordinary and large numbers.

    Raises TooLarge before anything is drawn that memory cannot hold.
    """
    first, last = shapes.types[0], shapes.types[-1]
    drawn: list[Sample] = []
    for number, (kind, types, batch, scale) in enumerate(
        [
            ("normal", first, 1, 1.0),
            ("uniform", last, 3, 1.0),
            ("uniform ×255", first, 2, SCALES[0]),
        ]
    ):
        used = with_batches(model, types, batch)
        if batch == 1 and differs_alone(model, types):
            used = with_batches(model, types, 2)
        shown = ", ".join(str(type) for type in leaves(used))
        graph = model.walk(used)
        memory.require(graph, shown)
        generator = np.random.default_rng(seed + number)
        arrays = draw_all(kind, graph, used, generator)
        allowed = index_inputs(graph)
        indices = frozenset(i for i, v in enumerate(leaves(graph.inputs)) if v.id in allowed)
        drawn.append(Sample(f"{kind} {shown}, seed {seed + number}", arrays, scale, indices))
    return drawn


def differs_alone(model: Model, types: Nested[TensorType]) -> str | None:
    """The first module that computes something else of a batch of one, if there is one."""
    return first_difference(model, with_batches(model, types, 1), with_batches(model, types, 2))


def with_batches(model: Model, types: Nested[TensorType], size: int) -> Nested[TensorType]:
    """The types with another batch, in every input that has one, if the model accepts that.

    A vector has one where it is as long as the batch of the other inputs, or holds indices.
    """
    flat = list(leaves(types))
    batch = next((type.shape[0] for type in flat if type.rank >= 2), None)

    def vectors_too(type: TensorType) -> TensorType:
        counts = type.rank == 1 and (
            type.shape[0] == batch or (batch is None and type.dtype == INT)
        )
        return replace(type, shape=(size,)) if counts else with_batch(type, size)

    for changed in (vectors_too, lambda type: with_batch(type, size)):
        trial = map_leaves(changed, types)
        if accepts(model, trial):
            return trial
    return types


def with_batch(type: TensorType, size: int) -> TensorType:
    """The type with another batch, where its first axis is one."""
    image_without_batch = type.rank == 3 and type.dtype == FLOAT and type.shape[0] != 1
    if type.rank < 2 or image_without_batch:
        return type
    return replace(type, shape=(size, *type.shape[1:]))


def draw_all(
    kind: str, graph: Graph, types: Nested[TensorType], generator: np.random.Generator
) -> Nested[Array]:
    """Seeded numbers for every input of a walked graph, of its types."""
    indices = index_inputs(graph)
    in_order = iter(leaves(graph.inputs))

    def drawn(type: TensorType) -> Array:
        allowed = indices.get(next(in_order).id)
        return (
            draw(kind, type, generator)
            if allowed is None
            else draw_indices(type, generator, allowed)
        )

    return map_leaves(drawn, types)


def draw(kind: str, type: TensorType, generator: np.random.Generator) -> Array:
    """Seeded numbers of a type; ones where nothing tells which integers it may hold."""
    if type.dtype != FLOAT:
        return np.ones(type.static, np.int64)
    if kind == "normal":
        return generator.standard_normal(type.static).astype(np.float32)
    scale = SCALES[0] if kind.endswith("255") else 1.0
    return (generator.random(type.static) * scale).astype(np.float32)


def draw_indices(type: TensorType, generator: np.random.Generator, allowed: IndexRange) -> Array:
    """Seeded indices of a range: from 1, as Lua's do, where it takes smaller ones, too."""
    least = 1 if allowed.least is None else allowed.least
    indices = generator.integers(least, max(least, allowed.largest), type.static, endpoint=True)
    return indices if type.dtype != FLOAT else indices.astype(np.float32)
