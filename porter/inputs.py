"""What to feed a model for verification: shapes that it accepts, and seeded numbers.

A net without a fixed-size layer is verified on odd, non-square images; for the others the size is
solved by walking the model with one size after the other, which costs milliseconds each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from porter import probe
from porter.dynamic import generalise
from porter.errors import Endless, UsageError, WalkError
from porter.fields import Array
from porter.graph import FLOAT, INT, TensorType
from porter.model_file import submodules
from porter.nested import Nested, leaves, map_leaves
from porter.registry import is_layer_map
from porter.walker import Model

SMALL_SIZES = (
    *((37, 53), (45, 35), (40, 56), (36, 52), (32, 48)),
    *((48, 64), (64, 96), (96, 64), (128, 160)),
)
"""Heights and widths tried first: different from each other, odd where the net allows."""
FIXED_SIZES = (
    *(224, 227, 256, 128, 96, 64, 32, 28, 299, 231, 221, 416, 448, 512),
    *(16, 20, 48, 80, 112, 160, 192, 320),
)
"""Square sizes that published nets were made for."""
OBLONG_SIZES = tuple(
    (h, w) for h in range(16, 257, 8) for w in range(max(h - 56, 16), h + 57, 8) if h != w
)
LARGEST_SIZE = 640


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
            hint = model.op(module).input_hint()
            if hint is not None and steps:
                features = [size for size in hint.shape[-1:] if size is not None]
                return replace(hint, shape=(None, None, *features))
            if hint is not None:
                return hint
    return None


def accepts(model: Model, type: Nested[TensorType]) -> bool:
    """Whether the model can be walked with an input of this type. Raises Endless."""
    try:
        model.walk(type)
    except Endless:
        raise
    except WalkError:
        return False
    return True


def solve(model: Model) -> Shapes:
    """Up to two input types, batch first, that the model accepts. Raises UsageError if none."""
    hint = hint_of(model)
    if hint is None:
        raise UsageError(
            "the model does not tell what it must be fed",
            hint="give its input's shape in Torch's order, for example --input-shape 3x256x256",
        )
    if hint.rank == 4:
        return solve_image(model, hint)
    for type in others(hint):
        if accepts(model, type):
            return Shapes((type,))
    return solve_several(model, hint)


def solve_several(model: Model, hint: TensorType) -> Shapes:
    """Models with several inputs, each told by the layer that reads it."""
    for size in (*SMALL_SIZES, *((fixed, fixed) for fixed in FIXED_SIZES)):
        types = probe.input_types(model, 1, size)
        if types is not None:
            count = len(list(leaves(types)))
            return Shapes((types,), f"{count} inputs, told by the layers that read them")
    raise unsolved(model, hint)


def solve_image(model: Model, hint: TensorType) -> Shapes:
    """Images of N×C×H×W: free sizes if there are any, else one size that fits."""
    for fits in (keeps_batch, accepts):
        for planes in plane_counts(hint.shape[1]):
            uneven = [size for size in SMALL_SIZES if fits(model, image(planes, size))]
            free = [size for size in uneven[:4] if is_free(model, image(planes, size))]
            if free:
                return Shapes(tuple(image(planes, size, batch=1) for size in free[:2]))
            rounded = sorted(uneven, key=lambda size: -math.gcd(*size))
            for size in (*squares(FIXED_SIZES), *rounded, *rare_sizes(planes == hint.shape[1])):
                if fits(model, image(planes, size)):
                    shown = f"{planes}×{size[0]}×{size[1]}"
                    return Shapes(
                        (image(planes, size, batch=1),), f"solved from the model's layers: {shown}"
                    )
    return solve_several(model, hint)


def squares(sizes: Iterable[int]) -> list[tuple[int, int]]:
    """Heights equal to widths."""
    return [(size, size) for size in sizes]


def rare_sizes(thorough: bool) -> list[tuple[int, int]]:
    """What to try when no ordinary size fits; `thorough` where the planes are surely right."""
    round_squares = squares(range(8, LARGEST_SIZE + 1, 8))
    if not thorough:
        return round_squares
    return [*round_squares, *OBLONG_SIZES, *squares(range(1, LARGEST_SIZE + 1))]


def image(planes: int, size: tuple[int, int], batch: int = 2) -> TensorType:
    """The type of some images."""
    return TensorType((batch, planes, *size))


def keeps_batch(model: Model, type: TensorType) -> bool:
    """Whether the model takes these images and makes one result of each.

    nn.View counts elements: it would make two samples of an image that is twice too large.
    """
    try:
        outputs = list(leaves(model.walk(type).outputs))
    except WalkError:
        return False
    return all(value.type.rank > 0 and value.type.shape[0] == type.shape[0] for value in outputs)


def is_free(model: Model, type: TensorType) -> bool:
    """Whether height and width may be anything."""
    (given,) = leaves(generalise(model, type).inputs)
    return given.type.shape[-2:] == (None, None)


def plane_counts(wanted: int | None) -> Iterator[int]:
    """Numbers of planes to try: a layer before the first convolution may add or remove some."""
    if wanted is not None:
        yield wanted
    for count in (3, 1, 2, 4):
        if count != wanted:
            yield count


def others(hint: TensorType) -> Iterator[TensorType]:
    """Types to try for inputs that are no images, from short to long."""
    free = [axis for axis, size in enumerate(hint.shape) if size is None and axis > 0]
    for size in (7, 9, 12, 16, 20, 24, 32, 33, 48, 64, *range(1, 300)):
        shape = [
            2 if axis == 0 and extent is None else extent for axis, extent in enumerate(hint.shape)
        ]
        for step, axis in enumerate(free):
            shape[axis] = size + 2 * step
        yield replace(hint, shape=tuple(shape))
        if len(free) > 1:
            for axis in free:
                shape[axis] = size
            yield replace(hint, shape=tuple(shape))
        if not free:
            return


def unsolved(model: Model, hint: TensorType) -> UsageError:
    """No size works; the error of one ordinary try says most."""
    shape = tuple(size or (1 if axis == 0 else 64) for axis, size in enumerate(hint.shape))
    why = ""
    try:
        model.walk(TensorType(shape, hint.dtype))
    except WalkError as error:
        why = str(error)
    return UsageError(
        f"no input size was found that the model accepts (its first layer takes {hint})",
        received=f"with {TensorType(shape)}: {why}" if why else None,
        hint="give the input's shape in Torch's order, for example --input-shape 3x256x256, once "
        "for each input of the model",
    )


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
    """Three inputs: batch 1, 3 and 2 where the model has a batch; ordinary and large numbers."""
    first, last = shapes.types[0], shapes.types[-1]
    made: list[Sample] = []
    for number, (kind, types, batch) in enumerate(
        [("normal", first, 1), ("uniform", last, 3), ("uniform ×255", first, 2)]
    ):
        wanted = map_leaves(lambda type, size=batch: with_batch(type, size), types)  # type: ignore[misc]
        used = wanted if accepts(model, wanted) else types
        generator = np.random.default_rng(seed + number)
        limit = index_limit(model)
        arrays = map_leaves(lambda type: draw(kind, type, generator, limit), used)  # noqa: B023
        shown = ", ".join(str(type) for type in leaves(used))
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
    """The largest index that every lookup table of the model has."""
    limits = [
        parameter.shape[0]
        for _, module in submodules(model.root)
        if "LookupTable" in module.typename
        for parameter in [model.op(module).params().get("weight")]
        if parameter is not None
    ]
    return min(limits, default=1)
