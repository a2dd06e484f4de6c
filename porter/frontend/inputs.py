"""What to feed a model for verification: what it accepts or the user gives, and seeded numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from porter.errors import (
    BadField,
    Endless,
    MissingField,
    PorterError,
    UnmappedModules,
    UsageError,
    WalkError,
)
from porter.frontend.module_tree import submodules
from porter.frontend.walker import Model
from porter.ir.fields import Array
from porter.ir.graph import FLOAT, INT, Graph, TensorType
from porter.ir.map_errors import attribute_errors
from porter.ir.nested import Nested, leaves, map_leaves
from porter.ir.registry import is_layer_map
from porter.runtime import memory
from porter.torch7 import TorchObject

MALFORMED = (MissingField, BadField, UnmappedModules, Endless)
"""Errors that do not depend on the input: another size is not worth a try."""
SHAPE_HINT = "give the input's shape in Torch's order, for example `input_shapes=3x256x256`"


@dataclass(frozen=True)
class Sample:
    """One verification input in Torch's order."""

    label: str
    arrays: Nested[Array]


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
    """What the model's first layer with an opinion wants, a step of time put in front."""
    above: dict[str, int] = {}
    for path, module in submodules(model.root):
        parent = path.rpartition(".")[0]
        steps = above.get(parent, 0) if path else 0
        above[path] = steps + (module.typename in model.registry.over_time)
        if module.typename in model.registry and is_layer_map(model.registry[module.typename]):
            hint = told(model, path, module)
            if hint is not None and steps:
                features = [size for size in hint.shape[-1:] if size is not None]
                return replace(hint, shape=(None, None, *features))
            if hint is not None:
                return hint
    return None


def told(model: Model, path: str, module: TorchObject) -> TensorType | None:
    """What one layer wants. Raises the error of a malformed one, with its path."""
    try:
        with attribute_errors(model.handler(module), path, module.typename):
            return model.op(module).input_hint()
    except PorterError as error:
        error.where = error.where or f"{path or 'the root'} ({module.typename})"
        raise


def accepts(model: Model, type: Nested[TensorType]) -> bool:
    """Whether the model can be walked with an input of this type. Raises what no input mends."""
    return walked(model, type) is not None


def walked(model: Model, type: Nested[TensorType]) -> Graph | None:
    """The walk with an input of this type, if the model bears it. Raises what no input mends."""
    try:
        return model.walk(type)
    except MALFORMED:
        raise
    except WalkError:
        return None


def plane_counts(wanted: int | None) -> Iterator[int]:
    """Numbers of planes to try: a layer before the first convolution may add or remove some."""
    if wanted is not None:
        yield wanted
    for count in (3, 1, 2, 4):
        if count != wanted:
            yield count


def parse_shape(text: str) -> tuple[int, ...]:
    """`3x256x256` or `1,3,256,256` as integers. Raises UsageError."""
    parts = text.lower().replace("×", "x").replace(",", "x").split("x")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(
            "an input shape is positive integers joined by x", received=text, hint="try 3x256x256"
        )
    return tuple(int(part) for part in parts)


def given(model: Model, shapes: list[tuple[int, ...]]) -> Shapes:
    """The types of shapes that the user gave, one for each input of the model.

    A single shape without batch gets one in front where the model wants it. Raises the WalkError
    that the model raises on these shapes.
    """
    if len(shapes) > 1:
        several: Nested[TensorType] = [TensorType(shape) for shape in shapes]
        model.walk(several)
        return Shapes((several,))
    (shape,) = shapes
    hint = hint_of(model)
    dtype = hint.dtype if hint is not None else FLOAT
    batchless = hint is not None and hint.rank == len(shape) + 1
    tries = [TensorType((1, *shape), dtype), TensorType(shape, dtype)]
    for type in tries if batchless else reversed(tries):
        if accepts(model, type):
            return Shapes((type,))
    model.walk(tries[0] if batchless else tries[1])
    raise AssertionError("a walk that was refused was accepted the second time")


def samples(model: Model, shapes: Shapes, seed: int) -> list[Sample]:
    """Three inputs: batch 1, 3 and 2 where the model has a batch; ordinary and large numbers.

    Raises TooLarge before anything is drawn that memory cannot hold.
    """
    first, last = shapes.types[0], shapes.types[-1]
    made: list[Sample] = []
    for number, (kind, types, batch) in enumerate(
        [("normal", first, 1), ("uniform", last, 3), ("uniform ×255", first, 2)]
    ):
        wanted = map_leaves(lambda type, size=batch: with_batch(type, size), types)  # type: ignore[misc]
        used = wanted if accepts(model, wanted) else types
        shown = ", ".join(str(type) for type in leaves(used))
        memory.require(model.walk(used), shown)
        generator = np.random.default_rng(seed + number)
        limit = index_limit(model)
        arrays = map_leaves(lambda type: draw(kind, type, generator, limit), used)  # noqa: B023
        made.append(Sample(f"{kind} {shown}, seed {seed + number}", arrays))
    return made


def with_batch(type: TensorType, size: int) -> TensorType:
    """The type with another batch, where its first axis is one."""
    image_without_batch = type.rank == 3 and type.dtype == FLOAT and type.shape[0] != 1
    if type.rank < 2 or image_without_batch:
        return type
    return replace(type, shape=(size, *type.shape[1:]))


def draw(kind: str, type: TensorType, generator: np.random.Generator, limit: int) -> Array:
    """Seeded numbers of a type; indices count from 1 as Lua's do."""
    if type.dtype != FLOAT:
        return generator.integers(1, limit, size=type.static, endpoint=True)
    if kind == "normal":
        return generator.standard_normal(type.static).astype(np.float32)
    scale = 255.0 if kind.endswith("255") else 1.0
    return (generator.random(type.static) * scale).astype(np.float32)


def index_limit(model: Model) -> int:
    """The largest index that every layer takes which was walked so far."""
    limits = [op.largest_index() for op in model.ops.values()]
    return min((limit for limit in limits if limit is not None), default=1)
