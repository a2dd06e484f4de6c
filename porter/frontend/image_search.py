"""Find the images that a model takes: any, those that the file states, or those that fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from porter.frontend.batch_rows import Fit, fit_of
from porter.frontend.dynamic import generalise
from porter.frontend.inputs import Shapes, plane_counts, walked
from porter.frontend.named_batch import named_batches
from porter.frontend.oblong_sizes import likeliest, oblong_sizes
from porter.frontend.probe import Reader
from porter.frontend.shape_needed import ambiguous
from porter.frontend.stated_sizes import roundness
from porter.frontend.trial_sizes import (
    FIXED_SIZES,
    FIXED_VOLUMES,
    SMALL_SIZES,
    TINY_SIZES,
    TINY_VOLUMES,
    image,
    rare_sizes,
    squares,
)
from porter.frontend.trials import Search, fixed, stated
from porter.frontend.walker import Model
from porter.ir.graph import Graph, Shape, TensorType
from porter.ir.nested import leaves
from porter.runtime import memory

MAX_WIDEST = 4_000_000
"""Elements of tensors at one layer from which on tiny images are tried first."""
WIDEST_ROUNDED = 128
"""More neighbouring sizes than strides round to one number of features."""
FREE_TRIES = 4
"""How many of the small sizes that fit are looked at for free ones."""
MAX_READINGS = 32
"""How many sizes that all fit are looked at for the one that the model states."""
MAX_NAMED = 3
"""How many of the sizes that all fit an error names."""


def solve_image(search: Search, hint: TensorType, reader: Reader | None) -> Shapes | None:
    """Images of N×C×H×W: sizes that are free, or the one that the file states or that fits."""
    for planes in plane_counts(hint.shape[1]):
        found = free_sizes(search, planes)
        if found:
            return Shapes(tuple(image(planes, size, batch=1) for size in found))
        if planes == hint.shape[1]:
            from_file = stated(search, reader)
            if from_file is not None:
                return from_file
        for size in (*squares(FIXED_SIZES), *rare_sizes(planes == hint.shape[1])):
            if search.fit(image(planes, size)) is Fit.SAMPLES:
                square = image(planes, likeliest_square(search, planes, size))
                return fixed(search.alone(square))
    return None


def likeliest_square(search: Search, planes: int, first: tuple[int, int]) -> tuple[int, int]:
    """Of the published sizes that fit the one that is the smallest of all, else the first.

    Strides round, so that a whole range fits: OverFeat was made for 231, and takes 231 to 262.
    Where 224 is in the range, it is what the net was made for; where no published size is, the
    smallest, of which no stride leaves a rest.
    """
    if first[0] in FIXED_SIZES[:2]:
        return first

    def fits(size: int) -> bool:
        return search.fit(image(planes, (size, size))) is Fit.SAMPLES

    smallest = (size for size in FIXED_SIZES if size > 1 and fits(size) and not fits(size - 1))
    published = next(smallest, None)
    # At the top of its range a size leaves no rest where poolings round up.
    if published is None and first[0] not in FIXED_SIZES and fits(first[0] + 1):
        published = smallest_alike(fits, first[0])
    return first if published is None else (published, published)


def smallest_alike(fits: Callable[[int], bool], size: int) -> int:
    """The smallest of the neighbouring sizes that fit; `size` where so many fit that none is meant.

    A layer behind that takes one number of features bounds a range that strides round to it.
    """
    if fits(size + WIDEST_ROUNDED):
        return size
    while size > 1 and fits(size - 1):
        size -= 1
    return size


def free_sizes(search: Search, planes: int) -> list[tuple[int, int]]:
    """A small size whose height and width may be anything, and the next ones that fit."""
    for least in (Fit.SAMPLES, Fit.ROWS):
        fitting = (s for s in sizes_for(search, planes) if search.fit(image(planes, s)) >= least)
        few = islice(fitting, FREE_TRIES)
        free = next((size for size in few if is_free(search.model, image(planes, size))), None)
        if free is not None:
            return [free, *islice(few, search.count - 1)]
    return []


def sizes_for(search: Search, planes: int) -> Iterator[tuple[int, int]]:
    """Small sizes; tiny ones first where the net makes large tensors of small images."""
    type = image(planes, SMALL_SIZES[0])
    if search.fit(type) and memory.widest(search.model.walk(type)) > MAX_WIDEST:
        yield from TINY_SIZES
    yield from SMALL_SIZES


def solve_volume(search: Search, planes: int, short: Sequence[TensorType]) -> Shapes | None:
    """Tiny volumes for nets that make large ones of them; else a published size for volumes whose
    size is not free: short ones run by accident there.
    """
    fitting = (type for type in short if search.fit(type) is Fit.SAMPLES)
    free = next((t for t in islice(fitting, FREE_TRIES) if is_free(search.model, t)), None)
    if free is not None:
        if memory.widest(search.model.walk(free)) <= MAX_WIDEST:
            return None
        tiny = [TensorType((2, planes, *size)) for size in TINY_VOLUMES]
        return Shapes(tuple(tiny)) if all(map(search.fit, tiny)) else None
    for size in FIXED_VOLUMES:
        if search.fit(TensorType((2, planes, *size))) is Fit.SAMPLES:
            # Volumes on other sides have as many elements: the layers count no more than these.
            found = "a published size that fits the model's layers, as others may"
            return fixed(TensorType((1, planes, *size)), found)
    return None


def batch_of_images(search: Search, hint: TensorType) -> Shapes | None:
    """Images in the number that the model names, which is the only one that it takes."""
    if hint.shape[1] is None:
        return None
    for batch in named_batches(search.model):
        for size in squares(FIXED_SIZES):
            type = image(hint.shape[1], size, batch)
            graph = walked(search.model, type)
            if graph is not None and fit_of(graph, batch) is Fit.SAMPLES:
                return Shapes((type,), f"solved from the model's layers: {type}")
    return None


def pair_of_images(search: Search, hint: TensorType) -> Shapes | None:
    """Two images of one size for a net that compares them, and takes no other number."""
    planes = hint.shape[1]
    if planes is None:
        return None
    for type in (image(planes, size) for size in SMALL_SIZES):
        graph = walked(search.model, type)
        if graph is not None and fit_of(graph, 2) is not Fit.REFUSED:
            return Shapes((type,), "two images")
    return None


def fits_two(search: Search, type: TensorType) -> bool:
    """Whether two samples fit, and no other number, with rows of results for each."""
    graph = walked(search.model, type) if type.shape[0] == 2 else None
    outputs = [] if graph is None else [value.type for value in leaves(graph.outputs)]
    fit = Fit.REFUSED if graph is None else fit_of(graph, 2)
    return fit is Fit.SAMPLES and all(output.rank > 1 for output in outputs)


def solve_oblong(search: Search, hint: TensorType, batch: int) -> Shapes | None:
    """Images of which height and width differ. Raises ShapeNeeded where several sizes fit."""
    refused = {
        type.static[2]: each
        for type, each in search.refused.items()
        if type.shape[:2] == (batch, hint.shape[1]) and type.shape[2] == type.shape[3]
    }
    readings: dict[Shape, TensorType] = {}
    ranges: dict[TensorType, str] = {}
    for heights, widths in oblong_sizes(refused, batch):
        type = TensorType((batch, hint.shape[1], likeliest(heights), likeliest(widths)))
        graph = walked(search.model, type)
        if graph is not None and fit_of(graph, batch) is Fit.SAMPLES:
            one = search.alone(type)
            ranges[one] = rounded_alike(heights, widths)
            if states_image(graph):
                return fixed(one, alike=ranges[one])
            shape = regrouped_image(graph)
            readings[shape] = min(readings.get(shape, one), one, key=unevenness)
        if len(readings) >= MAX_READINGS:
            break
    if len(readings) > 1:
        several = list(islice(readings.values(), MAX_NAMED))
        error = ambiguous("the model runs on images of several sizes", [[type] for type in several])
        error.received = " or ".join(f"{type}{ranges[type]}" for type in several)
        raise error
    return next((fixed(type, alike=ranges[type]) for type in readings.values()), None)


def rounded_alike(heights: Sequence[int], widths: Sequence[int]) -> str:
    """The heights and widths that strides round alike, of which one is named; or nothing."""
    if len(heights) == len(widths) == 1:
        return ""
    sizes = (
        f"{name} {min(each)} to {max(each)}" if len(each) > 1 else f"{name} {each[0]}"
        for name, each in (("height", heights), ("width", widths))
    )
    return f" ({', '.join(sizes)} come to the same)"


def unevenness(type: TensorType) -> tuple[int, int]:
    """Sorts images that come to the same: those first that a net was probably made for."""
    sizes = type.static[2:]
    return sum(size % 8 != 0 for size in sizes), sum(roundness(size)[0] for size in sizes)


def regrouped_image(graph: Graph) -> Shape:
    """The shape of the last image before something else is made of it."""
    images = (
        node.inputs[0].shape
        for node in graph.nodes
        if node.op.regroups or node.outputs[0].type.rank < 4
    )
    return next((shape for shape in images if len(shape) == 4), ())


def states_image(graph: Graph) -> bool:
    """Whether an nn.View or its like names the very image that it is given: nn.View(4, 8, 6)."""
    return any(
        node.op.regroups and len(shape) == 4 and shape == node.outputs[0].shape
        for node in graph.nodes
        for shape in (node.inputs[0].shape,)
    )


def is_free(model: Model, type: TensorType) -> bool:
    """Whether height and width may be anything."""
    (value,) = leaves(generalise(model, type).inputs)
    return value.type.shape[-2:] == (None, None)
