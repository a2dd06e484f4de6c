"""Find an input that a model accepts, by walking it with one size after the other.

A walk costs milliseconds or less. A net without a fixed-size layer is verified on odd and on even
images that are not square; for the others the sizes that published nets were made for come first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from porter.errors import PorterError, TooLarge, UsageError, WalkError
from porter.frontend import probe
from porter.frontend.dynamic import generalise
from porter.frontend.inputs import MALFORMED, SHAPE_HINT, Shapes, hint_of, plane_counts, walked
from porter.frontend.walker import Model
from porter.ir.graph import Graph, TensorType
from porter.ir.nested import leaves

SMALL_SIZES = (
    *((37, 53), (44, 34), (40, 56), (36, 52), (32, 48)),
    *((48, 64), (64, 96), (96, 64), (128, 160)),
)
"""Heights and widths tried first: different from each other, odd and even where the net allows.

On odd images alone a stride of 2 hides whether windows are rounded up or down and on which side
they are padded.
"""
FIXED_SIZES = (
    *(224, 227, 256, 128, 96, 64, 32, 28, 299, 231, 221, 416, 448, 512),
    *(16, 20, 48, 80, 112, 160, 192, 320),
)
"""Square sizes that published nets were made for."""
OBLONG_SIZES = tuple(
    (h, w) for h in range(16, 257, 8) for w in range(max(h - 56, 16), h + 57, 8) if h != w
)
FREE_TRIES = 4
"""How many of the small sizes that fit are looked at for free ones."""
MAX_SIZE = 640
SEARCH_CALLS = 60_000
"""Calls of modules that a search spends on sizes that do not fit before it gives up."""
PROBE_CALLS = 20_000
"""As many for models with several inputs, each of which takes several walks to find out."""


def solve(model: Model, count: int = 2) -> Shapes:
    """Up to `count` input types, batch first, that the model accepts.

    Raises UsageError where the model does not tell what it takes, else a WalkError: why it takes
    none of what was tried.
    """
    hint = hint_of(model)
    if hint is None:
        raise untold(model)
    search = Search(model)
    if hint.rank == 4:
        return solve_image(search, hint, count)
    for type in others(hint):
        if search.accepts(type):
            return Shapes((type,))
    return solve_several(search, hint)


@dataclass
class Search:
    """Tries of input types: each is walked once, and those that fail take bounded time together."""

    model: Model
    tried: dict[TensorType, bool | None] = field(default_factory=dict)
    spent: int = 0

    def verdict(self, type: TensorType) -> bool | None:
        """None where the model refuses the type, else whether it makes one result a sample.

        nn.View counts elements: it would make two samples of an image that is twice too large.
        """
        if type not in self.tried:
            before = self.model.calls
            graph = None if self.over else walked(self.model, type)
            self.tried[type] = None if graph is None else keeps_batch(graph, type)
            if not self.tried[type]:
                self.spent += self.model.calls - before
        return self.tried[type]

    @property
    def over(self) -> bool:
        """Whether the search has spent what it may."""
        return self.spent > SEARCH_CALLS

    def accepts(self, type: TensorType) -> bool:
        """Whether the model can be walked with the type."""
        return self.verdict(type) is not None

    def keeps_batch(self, type: TensorType) -> bool:
        """Whether it also makes one result of each sample."""
        return self.verdict(type) is True


def keeps_batch(graph: Graph, type: TensorType) -> bool:
    """Whether all outputs have the input's batch."""
    outputs = [value.type.shape for value in leaves(graph.outputs)]
    return all(shape[:1] == type.shape[:1] for shape in outputs)


def solve_several(search: Search, hint: TensorType) -> Shapes:
    """Models with several inputs, each told by the layer that reads it."""
    model, before = search.model, search.model.calls
    for size in (*SMALL_SIZES, *((fixed, fixed) for fixed in FIXED_SIZES)):
        if model.calls - before > PROBE_CALLS:
            break
        types = probe.input_types(model, 1, size)
        if types is not None:
            count = len(list(leaves(types)))
            return Shapes((types,), f"{count} inputs, told by the layers that read them")
    raise unsolved(model, hint)


def solve_image(search: Search, hint: TensorType, count: int) -> Shapes:
    """Images of N×C×H×W: up to `count` free sizes if there are any, else one size that fits."""
    for fits in (search.keeps_batch, search.accepts):
        for planes in plane_counts(hint.shape[1]):
            uneven = (size for size in SMALL_SIZES if fits(image(planes, size)))
            few = islice(uneven, FREE_TRIES)
            free = (size for size in few if is_free(search.model, image(planes, size)))
            found = tuple(image(planes, size, batch=1) for size in islice(free, count))
            if found:
                return Shapes(found)
            rounded = sorted(SMALL_SIZES, key=lambda size: -math.gcd(*size))
            for size in (*squares(FIXED_SIZES), *rounded, *rare_sizes(planes == hint.shape[1])):
                if fits(image(planes, size)):
                    shown = f"{planes}×{size[0]}×{size[1]}"
                    return Shapes(
                        (image(planes, size, batch=1),), f"solved from the model's layers: {shown}"
                    )
    return solve_several(search, hint)


def squares(sizes: Iterable[int]) -> list[tuple[int, int]]:
    """Heights equal to widths."""
    return [(size, size) for size in sizes]


def rare_sizes(thorough: bool) -> list[tuple[int, int]]:
    """What to try when no ordinary size fits; `thorough` where the planes are surely right."""
    round_squares = squares(range(8, MAX_SIZE + 1, 8))
    if not thorough:
        return round_squares
    return [*round_squares, *OBLONG_SIZES, *squares(range(1, MAX_SIZE + 1))]


def image(planes: int, size: tuple[int, int], batch: int = 2) -> TensorType:
    """The type of some images."""
    return TensorType((batch, planes, *size))


def is_free(model: Model, type: TensorType) -> bool:
    """Whether height and width may be anything."""
    (given,) = leaves(generalise(model, type).inputs)
    return given.type.shape[-2:] == (None, None)


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


def untold(model: Model) -> PorterError:
    """No layer tells what it takes: the model may be malformed, or take anything."""
    try:
        model.walk(image(3, (64, 64), batch=1))
    except (*MALFORMED, TooLarge) as error:
        return error
    except WalkError:
        pass
    return UsageError("the model does not tell what it must be fed", hint=SHAPE_HINT)


def unsolved(model: Model, hint: TensorType) -> PorterError:
    """No size works; the error of one ordinary try says most."""
    shape = tuple(size or (1 if axis == 0 else 64) for axis, size in enumerate(hint.shape))
    type = TensorType(shape, hint.dtype)
    advice = f"no input size was found that the model accepts (its first layer takes {hint})"
    try:
        model.walk(type)
    except WalkError as error:
        fed = f"the model was fed {type}"
        error.received = f"{error.received}; {fed}" if error.received else fed
        error.hint = f"{advice}: {SHAPE_HINT}, once for each input of the model"
        return error
    return UsageError(advice, hint=SHAPE_HINT)
