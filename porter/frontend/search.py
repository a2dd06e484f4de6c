"""Find an input that a model accepts, by walking it with one size after the other.

A walk costs milliseconds or less. A net without a fixed-size layer is verified on odd and on even
images that are not square. For the others the sizes come first that the file states, then those
that published nets were made for. A size that only fits because samples are cut up is none, and
where several sizes fit that cannot be told apart, the user must say which.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, permutations, product

from porter.errors import (
    MALFORMED,
    BadTable,
    Overwritten,
    PorterError,
    ShapeMismatch,
    ShapeNeeded,
    TooLarge,
    UsageError,
    WalkError,
)
from porter.frontend import stated_sizes
from porter.frontend.backtracking import Backtracking, traced_hints
from porter.frontend.batch_rows import Fit, cuts_samples, fit_of
from porter.frontend.dynamic import generalise
from porter.frontend.inputs import (
    EXAMPLES,
    GIVE_SHAPE,
    NO_SHAPE,
    RequestedShape,
    Shapes,
    plane_counts,
    requested,
    shape_template,
    shown_shape,
    stated_hint,
    stated_hints,
    walked,
    with_batches,
    with_indices,
)
from porter.frontend.module_tree import submodules
from porter.frontend.named_batch import named_batches
from porter.frontend.oblong_sizes import Refused, SizeWalk, likeliest, oblong_sizes
from porter.frontend.probe import (
    UNKNOWN,
    InputProbe,
    Reader,
    TypeNeeded,
    arranged,
    concrete,
    first_reader,
    with_index_rank,
)
from porter.frontend.stated_sizes import roundness
from porter.frontend.walker import Model
from porter.ir.capabilities import TellsInput
from porter.ir.graph import INT, Graph, Shape, TensorType
from porter.ir.nested import Nested, leaves
from porter.runtime import memory
from porter.torch7 import Tensor

SMALL_SIZES = (
    *((37, 53), (44, 34), (40, 56), (36, 52), (32, 48)),
    *((48, 64), (64, 96), (96, 64), (128, 160)),
)
"""Heights and widths tried first: different from each other, odd and even where the net allows.

On odd images alone a stride of 2 hides whether windows are rounded up or down and on which side
they are padded.
"""
TINY_SIZES = ((5, 7), (6, 4), (3, 2))
"""For nets that make a large image of a small one: as odd and even, as different."""
MAX_WIDEST = 4_000_000
"""Elements of tensors at one layer from which on tiny images are tried first."""
FIXED_SIZES = (
    *(224, 227, 256, 128, 96, 64, 32, 28, 84, 299, 231, 221, 416, 448, 512),
    *(16, 20, 48, 80, 112, 160, 192, 320),
)
"""Square sizes that published nets were made for."""
FIXED_VOLUMES = (
    (16, 112, 112),
    *((frames, 58, 58) for frames in (20, 40, 60, 80, 100)),
    (32, 64, 64),
    *((frames, 71, 71) for frames in (20, 40, 60, 80, 100)),
    *((edge, edge, edge) for edge in (64, 32, 30, 24, 16)),
)
"""Depths, heights and widths that published nets were made for: C3D, LTC, VideoGAN, voxels."""
WIDEST_ROUNDED = 128
"""More neighbouring sizes than strides round to one number of features."""
FREE_TRIES = 4
"""How many of the small sizes that fit are looked at for free ones."""
MAX_SIZE = 640
SEARCH_CALLS = 60_000
"""Calls of modules that a search spends on sizes that do not fit before it gives up."""
MAX_WIDTHS = 64
"""How many widths of layers are tried as the length of a tensor that is joined to others."""
PROBE_CALLS = 20_000
"""As many for models with several inputs, each of which takes several walks to find out."""
FEW_OTHERS = 20
"""How many short inputs that are no images are tried before those that the file states."""
MAX_HINTS = 2
"""How many layers that take images are asked where the first layer that takes something fails."""
MAX_PADDED = 300
"""How many features more or fewer than the first known layer takes are tried."""
MAX_READINGS = 32
"""How many sizes that all fit are looked at for the one that the model states."""
MAX_SLICES = 32
"""How many slices of a tensor, each of which is the input of a layer, are tried."""
MAX_NAMED = 3
"""How many of the sizes that all fit an error names."""


def shapes_for(model: Model, shapes: Sequence[RequestedShape], count: int = 2) -> Shapes:
    """The types of the shapes that the user requests, or those that `solve` finds.

    Raises UsageError where the model takes other inputs than the requested ones, else as `solve`.
    """
    if not shapes:
        return solve(model, count)
    try:
        return requested(model, shapes)
    except (BadTable, ShapeMismatch, TooLarge) as error:
        try:
            found = solve(model, 1)
        except PorterError:
            raise error from None
        example = " ".join(f"`input_shapes={shown_shape(t)}`" for t in leaves(found.types[0]))
        misfit = UsageError(
            f"the requested input does not fit the model: {error.message}",
            where=error.where,
            received=error.received,
            hint=f"the model takes, for example, {example}",
        )
        misfit.shapes = tuple(map(shown_shape, leaves(found.types[0])))
        raise misfit from error


def solve(model: Model, count: int = 2) -> Shapes:
    """Up to `count` input types, batch first, that the model accepts.

    Raises ShapeNeeded where the model does not tell what it takes or several sizes fit, else a
    WalkError: why it takes none of what was tried.
    """
    reader = first_reader(model)
    hint = stated_hint(model) if reader is None or reader.op is None else reader.hint
    search = Search(model)
    solved = solve_traced(search, traced_hints(model)) if is_renamed(reader) else None
    if solved is None:
        if hint is None:
            several = solve_several(search)
            if several is None:
                raise untold(model)
            return several
        solved = solve_hinted(search, hint, reader)
    types = (with_indices(model, batched(model, each)) for each in solved.types[:count])
    return replace(solved, types=tuple(types))


def solve_hinted(search: Search, hint: TensorType, reader: Reader | None) -> Shapes:
    """The types of an input of which the first layer that reads it tells something.

    Raises as `solve`.
    """
    model, solved = search.model, solve_whole(search, hint)
    if solved is None and hint.rank == 4:
        solved = solve_image(search, hint, reader)
    elif solved is None:
        solved = solve_other(search, hint, reader)
    solved = solved or solve_several(search) or solve_rare(search, hint) or solve_mixed(search)
    solved = solved or solve_sliced(search, hint)
    if solved is None and hint.rank != 4:
        # The first layer that tells anything may read something that was computed from an image.
        hints = [each for each in stated_hints(model) if each.rank == 4]
        for each in [*dict.fromkeys(hints)][:MAX_HINTS]:
            hint, search = each, Search(model)
            solved = solve_image(search, each, None) or solve_rare(search, each)
            if solved is not None:
                break
        solved = solved or solve_image(Search(model), TensorType((None,) * 4), None)
    if solved is None:
        raise search.overwritten or unsolved(model, hint)
    return solved


def solve_whole(search: Search, hint: TensorType) -> Shapes | None:
    """Samples whose every size is stated, or as many numbers in a row, which nn.CMul takes, too."""
    sizes = [size for size in hint.shape[1:] if size is not None]
    if len(sizes) < max(2, hint.rank - 1):
        return None
    rows = (TensorType((2, *shape), hint.dtype) for shape in (tuple(sizes), (math.prod(sizes),)))
    return next((fixed(search.alone(type)) for type in rows if search.fit(type)), None)


def batched(model: Model, type: Nested[TensorType]) -> Nested[TensorType]:
    """Two samples where Torch refuses one: nn.View(2, 3) drops the batch of a single one."""
    return type if walked(model, type) is not None else with_batches(model, type, 2)


@dataclass
class Search:
    """Tries of input types: each is walked once, and those that fail take bounded time together."""

    model: Model
    tried: dict[TensorType, Fit] = field(default_factory=dict)
    refused: dict[TensorType, Refused] = field(default_factory=dict)
    spent: int = 0
    cut: bool = False
    """Whether some size was one with which samples are cut up: then rows fit by accident only."""
    mixed: list[TensorType] = field(default_factory=list)
    """Sizes with which a reshape mixes the axes of an image."""
    overwritten: Overwritten | None = None
    """The error of a size that fits as far as a module where Torch itself goes wrong."""

    def fit(self, type: TensorType) -> Fit:
        """How well the type suits the model."""
        if type not in self.tried:
            before = self.model.calls
            self.tried[type] = self.tried_out(type)
            if self.tried[type] is not Fit.SAMPLES:
                self.spent += self.model.calls - before
        return self.tried[type]

    def tried_out(self, type: TensorType) -> Fit:
        """The same by walking. What fits two samples must fit three, or two were merged."""
        if self.over:
            return Fit.REFUSED
        try:
            graph = self.model.walk_with(SizeWalk, type)
        except MALFORMED:
            raise
        except Refused as refused:
            self.refused[type] = refused
            self.cut |= refused.cut
            if refused.mixed:
                self.mixed.append(type)
            return Fit.REFUSED
        except Overwritten as error:
            self.overwritten = error
            return Fit.REFUSED
        except WalkError:
            return Fit.REFUSED
        found = fit_of(graph, type.shape[0])
        if found is not Fit.REFUSED and type.shape[0] == 2:
            return min(found, self.fit(replace(type, shape=(3, *type.shape[1:]))))
        return found

    def alone(self, type: TensorType) -> TensorType:
        """The type with a batch of one, unless the model takes no such thing."""
        one = replace(type, shape=(1, *type.shape[1:]))
        return one if walked(self.model, one) is not None else type

    def cuts(self, types: Iterable[TensorType]) -> bool:
        """Whether the model runs with some of the types, but cuts samples up."""
        graphs = (walked(self.model, type) for type in types)
        return any(graph is not None and cuts_samples(graph) for graph in graphs)

    @property
    def over(self) -> bool:
        """Whether the search has spent what it may."""
        return self.spent > SEARCH_CALLS


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
    """Up to two small sizes, if height and width may be anything."""
    for least in (Fit.SAMPLES, Fit.ROWS):
        fitting = (s for s in sizes_for(search, planes) if search.fit(image(planes, s)) >= least)
        few = islice(fitting, FREE_TRIES)
        free = (size for size in few if is_free(search.model, image(planes, size)))
        found = list(islice(free, 2))
        if found:
            return found
    return []


def sizes_for(search: Search, planes: int) -> Iterator[tuple[int, int]]:
    """Small sizes; tiny ones first where the net makes large tensors of small images."""
    type = image(planes, SMALL_SIZES[0])
    if search.fit(type) and memory.widest(search.model.walk(type)) > MAX_WIDEST:
        yield from TINY_SIZES
    yield from SMALL_SIZES


def stated(search: Search, reader: Reader | None) -> Shapes | None:
    """A type that explains what Torch left in the file, where it left anything."""
    for type in stated_sizes.stated_types(reader) if reader is not None else ():
        for trial in (replace(type, shape=(2, *type.shape[1:])), type):
            if search.fit(trial) and stated_sizes.agrees(search.model.walk(trial)):
                shape = trial.shape if trial is type else (1, *type.shape[1:])
                return fixed(replace(type, shape=shape), "stated by what Torch left in the file")
    return None


def fixed(
    type: TensorType, found: str = "solved from the model's layers", alike: str = ""
) -> Shapes:
    """One type, told without its batch; `alike` says which others come to the same."""
    shown = str(replace(type, shape=type.shape[1:])) if type.rank > 1 else str(type)
    return Shapes((type,), f"{found}: {shown}{alike}")


def solve_other(search: Search, hint: TensorType, reader: Reader | None) -> Shapes | None:
    """Inputs that are no images: short ones, the one that the file states, then longer ones."""
    types = list(others(hint))
    short, long = types[:FEW_OTHERS], types[FEW_OTHERS:]
    least = least_fit(hint)
    if hint.rank == 5 and hint.shape[1] is not None:
        volume = solve_volume(search, hint.shape[1], short)
        if volume is not None:
            return volume
    type = next((type for type in short if search.fit(type) >= least), None)
    if hint == TensorType((None, None), INT) and (type is None or type.shape[1] == 1):
        # The words of one text, summed to one vector: a batch fits by accident, of single words.
        vector = TensorType((2,), INT)
        type = vector if search.fit(vector) else type
    if type is not None:
        require_unambiguous(search, type)
        require_one_rank(search, type)
        return Shapes((exact_length(search, type, hint, least),))
    from_file = stated(search, reader)
    if from_file is None and least is Fit.SAMPLES and not search.cuts(short):
        type = next((type for type in short if search.fit(type)), None)
    if from_file is None and type is None:
        type = next((type for type in long if search.fit(type) >= least), None)
    return from_file if type is None else Shapes((type,))


def exact_length(search: Search, type: TensorType, hint: TensorType, least: Fit) -> TensorType:
    """Sequences N×T×F whose strides leave no rest, where the model takes a few lengths only."""
    if hint.rank != 3 or hint.shape[1] is not None or hint.shape[2] is None:
        return type

    def of(length: int) -> TensorType:
        return replace(type, shape=(type.shape[0], length, type.shape[2]))

    length = smallest_alike(lambda size: search.fit(of(size)) >= least, type.static[1])
    return of(length)


def require_unambiguous(search: Search, type: TensorType) -> None:
    """Raise ShapeNeeded for a volume of a fixed size that as well may lie on another side.

    A layer of fixed size counts elements only: 10×12×14 and 12×10×14 come to the same.
    """
    if type.rank != 5 or is_free(search.model, type):
        return
    sides = dict.fromkeys(permutations(type.static[2:]))
    turned = [replace(type, shape=(*type.shape[:2], *each)) for each in sides]
    fitting = [[search.alone(each)] for each in turned if search.fit(each) is Fit.SAMPLES]
    if len(fitting) > 1:
        raise ambiguous("the model runs on volumes of several sizes", fitting[:MAX_NAMED])


def require_one_rank(search: Search, type: TensorType) -> None:
    """Raise ShapeNeeded for rows of features that as well may be sequences of them: nn.Bottle."""
    if type.rank != 2 or type.dtype == INT:
        return
    longer = with_axis(type, 1, 7)
    if search.fit(longer) is Fit.SAMPLES:
        raise ambiguous(
            "the model runs on inputs of two and of three dimensions", [[longer], [type]]
        )


def solve_volume(search: Search, planes: int, short: Sequence[TensorType]) -> Shapes | None:
    """A published size for volumes whose size is not free; short ones run by accident there."""
    fitting = (type for type in short if search.fit(type) is Fit.SAMPLES)
    if any(is_free(search.model, type) for type in islice(fitting, FREE_TRIES)):
        return None
    for size in FIXED_VOLUMES:
        if search.fit(TensorType((2, planes, *size))) is Fit.SAMPLES:
            # Volumes on other sides have as many elements: the layers count no more than these.
            found = "a published size that fits the model's layers, as others may"
            return fixed(TensorType((1, planes, *size)), found)
    return None


def least_fit(hint: TensorType) -> Fit:
    """Rows may be steps in time; those of a volume fit by accident, as an image's do."""
    return Fit.SAMPLES if hint.rank > 4 else Fit.ROWS


def solve_rare(search: Search, hint: TensorType) -> Shapes | None:
    """What is tried last: rows of a result, a batch of one, vectors, heights unlike widths."""
    if hint.rank != 4:
        pair = next(
            (type for type in islice(others(hint), FEW_OTHERS) if fits_two(search, type)), None
        )
        if pair is not None:
            return Shapes((pair,))
        near = next((t for t in near_widths(hint) if search.fit(t) is Fit.SAMPLES), None)
        if near is not None:
            return fixed(near)
        trials = [replace(hint, shape=(1, *hint.shape[1:]))]
        if hint.dtype == INT:
            trials.append(replace(hint, shape=(None,)))
        elif hint.rank == 2:
            trials.append(replace(hint, shape=hint.shape[1:]))
        for trial in trials:
            least = least_fit(trial)
            type = next((type for type in others(trial) if search.fit(type) >= least), None)
            if type is not None:
                return Shapes((type,))
        return None
    batch_named = batch_of_images(search, hint)
    if batch_named is not None:
        return batch_named
    for batch, least in ((2, Fit.ROWS), (1, Fit.SAMPLES)):
        if least is Fit.ROWS and search.cut:
            continue
        for planes in plane_counts(hint.shape[1]):
            for size in (*squares(FIXED_SIZES), *rare_sizes(planes == hint.shape[1])):
                if search.fit(image(planes, size, batch)) >= least:
                    return fixed(search.alone(image(planes, size, batch)))
    solved = pair_of_images(search, hint) or solve_oblong(search, hint, batch=2)
    if solved is None and any(each.drops_batch for each in search.refused.values()):
        solved = solve_oblong(search, hint, batch=1)
    return solved


def solve_traced(search: Search, hints: Sequence[TensorType]) -> Shapes | None:
    """The type of an input whose axes are renamed first: nn.Transpose, nn.Select."""
    small = (*TINY_SIZES[:1], *SMALL_SIZES)
    fixed = (*squares(FIXED_SIZES), *rare_sizes(thorough=True))
    tries = ((small, Fit.SAMPLES), (small, Fit.ROWS), (fixed, Fit.SAMPLES))
    for sizes, least in tries:
        for hint, size in product(hints, sizes):
            type = concrete(hint, 2, size)
            if search.fit(type) >= least:
                return Shapes((type,))
    return None


def is_renamed(reader: Reader | None) -> bool:
    """Whether the axes of an input are renamed before a layer reads it that tells more."""
    return reader is None or isinstance(reader.op, TellsInput)


def solve_sliced(search: Search, hint: TensorType) -> Shapes | None:
    """One more axis than the first layer that tells anything takes: its inputs are slices.

    nn.Parallel and nn.SplitTable cut them. Where few numbers of slices fit, the largest is taken;
    where any does, the fewest if later slices are not read.
    """
    slice = concrete(hint, 2, SMALL_SIZES[0])
    for axis in (*range(1, slice.rank), 0):
        graphs = {
            count: graph
            for count in range(1, MAX_SLICES + 1)
            if (graph := walked(search.model, with_axis(slice, axis, count))) is not None
            and fit_of(graph, 2) is not Fit.REFUSED
        }
        if graphs:
            fewest, most = min(graphs), max(graphs)
            open_ended = most == MAX_SLICES
            read = shapes_behind(graphs[most]) != shapes_behind(graphs[fewest])
            count = most if not open_ended else max(fewest, 7) if read else fewest
            return Shapes((with_axis(slice, axis, count),))
    return None


def shapes_behind(graph: Graph) -> list[tuple[int | None, ...]]:
    """Of all that is made of the outputs of a graph's first node, and of its outputs."""
    later = (value for node in graph.nodes[1:] for value in node.outputs)
    return [value.type.shape for value in (*later, *leaves(graph.outputs))]


def with_axis(type: TensorType, axis: int, extent: int) -> TensorType:
    """The type with one axis more."""
    return replace(type, shape=(*type.shape[:axis], extent, *type.shape[axis:]))


def solve_mixed(search: Search) -> Shapes | None:
    """The first size that fits but for a reshape that mixes axes: nets are rarely made so."""
    for type in search.mixed:
        graph = walked(search.model, type)
        if graph is not None and fit_of(graph, type.shape[0]) is Fit.SAMPLES:
            return fixed(search.alone(type))
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


def solve_several(search: Search) -> Shapes | None:
    """Models with several inputs, each told by the layer that reads it, or by the file.

    Raises ShapeNeeded where indices may be vectors as well as rows of a batch.
    """
    found: list[Nested[TensorType]] = []
    for index_rank in (1, 2):
        types, free_rank = probe_sizes(search, index_rank)
        if types is not None and types not in found:
            found.append(types)
        if not free_rank:
            break
    if not found:
        probe = InputProbe(search.model)
        probe.types(lambda needed: concrete(needed.reader.hint, 2, SMALL_SIZES[0]))
        if not isinstance(probe.structure, list):
            return None
        types = (
            Backtracking(search.model, probe.structure, Fit.SAMPLES).types()
            or Backtracking(search.model, probe.structure, Fit.ROWS).types()
        )
        if types is None:
            return None
        found = [with_indices(search.model, types)]
    if len(found) > 1:
        flat = [list(leaves(types)) for types in found]
        raise ambiguous("the model takes indices of one and of two dimensions", flat)
    return Shapes((found[0],), f"{count_of(found[0])} inputs, told by the layers that read them")


def probe_sizes(search: Search, index_rank: int) -> tuple[Nested[TensorType] | None, bool]:
    """Types of all inputs for the first size that fits; whether indices are of a free rank.

    Indices of a free rank are fed with `index_rank` dimensions. Tensors that are joined are first
    taken to be alike, then as long as some layer is wide.
    """
    model, probe = search.model, InputProbe(search.model)
    before, free_rank, joins = model.calls, False, False
    uneven = (*TINY_SIZES[:1], *SMALL_SIZES)
    alike = (None, *uneven, *squares(FIXED_SIZES), *squares(range(1, 65)))
    tries = [(size, False) for size in alike]
    tries += [(size, True) for size in squares(widths_of_layers(model))]
    for size, loosely in tries:
        if model.calls - before > PROBE_CALLS or (loosely and not joins):
            break

        def fill(needed: TypeNeeded) -> TensorType:
            nonlocal free_rank, joins
            reader = needed.reader
            joins |= reader.loose is not None
            chosen = reader.loose if loosely and reader.loose else reader.hint  # noqa: B023
            hint = with_index_rank(chosen, index_rank)
            free_rank |= hint is not with_index_rank(chosen, 3 - index_rank)
            stated = next(stated_sizes.stated_types(reader), None) if size is None else None  # noqa: B023
            return stated or concrete(hint, 2, size or SMALL_SIZES[0])  # noqa: B023

        types = probe.types(fill)
        if not isinstance(types, list):
            continue
        if fit_of(model.walk(types), 2) is not Fit.REFUSED:
            return shortest(model, with_indices(model, types)), free_rank
    return None, free_rank


def shortest(model: Model, types: Nested[TensorType]) -> Nested[TensorType]:
    """The types with the shortest rows of indices that fit, where their length is not free.

    Strides round, so that longer ones run: a pooling over all characters of a word (lstm-char-cnn)
    leaves out what is behind its only window.
    """
    free = [value.type.shape for value in leaves(generalise(model, types).inputs)]
    flat = list(leaves(types))
    for position, type in enumerate(flat):
        if type.dtype != INT or type.rank != 2 or free[position][1] is None:
            continue
        for length in range(1, type.static[1]):
            flat[position] = replace(type, shape=(type.shape[0], length))
            graph = walked(model, arranged(types, flat))
            if graph is not None and fit_of(graph, 2) is not Fit.REFUSED:
                break
        else:
            flat[position] = type
    return arranged(types, flat)


def widths_of_layers(model: Model) -> list[int]:
    """How many features linear layers take or make, then what one takes more than another."""
    weights = (module.get("weight") for _, module in submodules(model.root))
    shapes = (each.shape for each in weights if isinstance(each, Tensor) and len(each.shape) == 2)
    widths = list(dict.fromkeys(size for shape in shapes for size in shape))
    more = (one - other for one in widths for other in widths if one > other)
    return list(dict.fromkeys((*widths, *more)))[:MAX_WIDTHS]


def squares(sizes: Iterable[int]) -> list[tuple[int, int]]:
    """Heights equal to widths."""
    return [(size, size) for size in sizes]


def rare_sizes(thorough: bool) -> list[tuple[int, int]]:
    """What to try when no ordinary size fits; `thorough` where the planes are surely right."""
    return squares([*range(8, MAX_SIZE + 1, 8), *(range(1, MAX_SIZE + 1) if thorough else ())])


def image(planes: int, size: tuple[int, int], batch: int = 2) -> TensorType:
    """The type of some images."""
    return TensorType((batch, planes, *size))


def is_free(model: Model, type: TensorType) -> bool:
    """Whether height and width may be anything."""
    (value,) = leaves(generalise(model, type).inputs)
    return value.type.shape[-2:] == (None, None)


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


def near_widths(hint: TensorType) -> Iterator[TensorType]:
    """Types with more or fewer features than a layer takes that may not be the first: nn.Padding
    in front of it adds some, nn.Narrow leaves some out.
    """
    features = hint.shape[-1]
    if hint.rank != 2 or hint.dtype == INT or features is None:
        return
    for more in range(1, MAX_PADDED + 1):
        for width in (features - more, features + more):
            if width > 0:
                yield replace(hint, shape=(2, width))


def count_of(types: Nested[TensorType]) -> int:
    """How many tensors a model takes."""
    return sum(1 for _ in leaves(types))


def shapes_argument(types: Iterable[TensorType]) -> str:
    """Types as whoever calls porter writes them."""
    return " ".join(f"`input_shapes={shown_shape(type)}`" for type in types)


def ambiguous(problem: str, found: Sequence[Sequence[TensorType]]) -> ShapeNeeded:
    """The error of a model that accepts inputs that are not the same."""
    error = ShapeNeeded(
        f"{problem} and does not tell which is right",
        received=" or ".join(", ".join(map(str, types)) for types in found),
        hint=f"say which: {' or '.join(shapes_argument(types) for types in found)}",
    )
    error.shapes = tuple(shown_shape(type) for type in found[0])
    return error


def untold(model: Model) -> PorterError:
    """No layer tells what it takes: the model may be malformed, or take anything."""
    fitting: list[TensorType] = []
    for shape in ((1, *EXAMPLES[4]), *(EXAMPLES[rank] for rank in (2, 3, 1))):
        try:
            model.walk(TensorType(shape))
        except (*MALFORMED, TooLarge) as error:
            return error
        except WalkError:
            continue
        fitting.append(TensorType(shape))
    several = inputs_found(model)
    if several:
        return unsolved_several(model, several)
    needed = ShapeNeeded("the model does not tell what it must be fed", hint=GIVE_SHAPE)
    needed.shapes = tuple(shown_shape(type) for type in fitting[:1]) or (NO_SHAPE,)
    needed.is_template = not fitting
    return needed


def unsolved(model: Model, hint: TensorType) -> PorterError:
    """No size works; the error of one ordinary try says most."""
    several = inputs_found(model)
    if several:
        return unsolved_several(model, several)
    shape = tuple(size or (1 if axis == 0 else 64) for axis, size in enumerate(hint.shape))
    type = TensorType(shape, hint.dtype)
    reader, traced = first_reader(model), traced_hints(model)
    known = reader.hint if reader is not None and reader.op is not None else None
    known = next(iter(traced), known) if is_renamed(reader) else known
    which = "first layer" if known == hint else "first layer that tells anything"
    advice = f"no input size was found that the model accepts (its {which} takes {hint})"
    found: PorterError = ShapeNeeded(advice, hint=GIVE_SHAPE)
    try:
        model.walk(type)
    except WalkError as error:
        fed = f"the model was fed {type}"
        error.received = f"{error.received}; {fed}" if error.received else fed
        error.hint = f"{advice}: {GIVE_SHAPE}"
        found = error
    found.shapes, found.is_template = (NO_SHAPE if known is None else shape_template(known),), True
    return found


def inputs_found(model: Model) -> list[TensorType]:
    """What is known of the inputs of a model with several of them; nothing of others."""
    probe = InputProbe(model)
    hints: dict[int, TensorType] = {}
    chosen: dict[TensorType, TensorType] = {}

    def fill(needed: TypeNeeded) -> TensorType:
        hint = chosen.get(needed.reader.hint, needed.reader.hint)
        hints[needed.position] = hint
        type = concrete(needed.reader.hint, 2, SMALL_SIZES[0])
        chosen[type] = hint
        return type

    probe.types(fill)
    if not isinstance(probe.structure, list):
        return []
    hints.clear()
    probe.attempt(probe.structure, fill)
    return [hints.get(position, UNKNOWN) for position in range(count_of(probe.structure))]


def unsolved_several(model: Model, known: Sequence[TensorType]) -> ShapeNeeded:
    """The error of a model with several inputs of which no sizes were found that fit together."""
    count = len(known)
    joined = joined_example(model, count) if {*known} == {UNKNOWN} else None
    if joined is not None:
        error = ShapeNeeded(
            "the model joins a table of tensors and does not tell how many and of which sizes",
            hint=f"{GIVE_SHAPE}, once for each",
        )
        error.shapes = tuple(map(shown_shape, joined))
        return error
    shapes = tuple(
        f"{NO_SHAPE}_{number}" if type == UNKNOWN else shape_template(type)
        for number, type in enumerate(known, 1)
    )
    error = ShapeNeeded(
        f"the model takes {count} tensors, and no sizes were found that fit together",
        received=f"{', '.join(shapes)} (as far as the layers tell that read them)",
        hint="give `input_shapes=` for each in this order and in Torch's order of axes, "
        "with :int for indices",
    )
    error.shapes, error.is_template = shapes, True
    return error


def joined_example(model: Model, count: int) -> list[TensorType] | None:
    """So many tensors that together make what a later layer takes, if those fit the model."""
    before = model.calls
    for hint in islice(stated_hints(model), MAX_HINTS):
        for size in (*squares((256, *FIXED_SIZES)), *rare_sizes(thorough=True)):
            whole = concrete(hint, 1, size)
            shares = [whole.static[axis] // count for axis in range(1, whole.rank)]
            parts = [
                replace(whole, shape=(*whole.shape[:axis], share, *whole.shape[axis + 1 :]))
                for axis, share in enumerate(shares, 1)
                if share and hint.shape[axis] == share * count
            ]
            for part in (*parts[:1], whole):
                graph = walked(model, [part] * count)
                if graph is not None and fit_of(graph, 1) is not Fit.REFUSED:
                    return [part] * count
            if whole.rank != 4 or model.calls - before > PROBE_CALLS:
                break
    return None
