"""Find an input that a model accepts, by walking it with one size after the other.

A walk costs milliseconds or less. A net without a fixed-size layer is verified on odd and on even
images that are not square. For the others the sizes come first that the file states, then those
that published nets were made for. A size that only fits because samples are cut up is none, and
where several sizes fit that cannot be told apart, the user must say which.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice, permutations, product

from porter.errors import BadTable, PorterError, ShapeMismatch, TooLarge, UsageError
from porter.frontend.backtracking import traced_hints
from porter.frontend.batch_rows import Fit, fit_of
from porter.frontend.image_search import (
    MAX_NAMED,
    batch_of_images,
    fits_two,
    is_free,
    pair_of_images,
    smallest_alike,
    solve_image,
    solve_oblong,
    solve_volume,
)
from porter.frontend.inputs import (
    RequestedShape,
    Shapes,
    plane_counts,
    requested,
    shown_shape,
    stated_hint,
    stated_hints,
    walked,
    with_batches,
    with_indices,
)
from porter.frontend.probe import Reader, concrete, first_reader
from porter.frontend.several_inputs import solve_several
from porter.frontend.shape_needed import MAX_HINTS, ambiguous, is_renamed, unsolved, untold
from porter.frontend.trial_sizes import (
    FIXED_SIZES,
    SMALL_SIZES,
    TINY_SIZES,
    image,
    near_widths,
    others,
    rare_sizes,
    squares,
)
from porter.frontend.trials import Search, fixed, stated
from porter.frontend.walker import Model
from porter.ir.graph import INT, Graph, TensorType
from porter.ir.nested import Nested, leaves

FEW_OTHERS = 20
"""How many short inputs that are no images are tried before those that the file states."""
MAX_SLICES = 32
"""How many slices of a tensor, each of which is the input of a layer, are tried."""


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
    search = Search(model, count)
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
            hint, search = each, Search(model, search.count)
            solved = solve_image(search, each, None) or solve_rare(search, each)
            if solved is not None:
                break
        solved = solved or solve_image(Search(model, search.count), TensorType((None,) * 4), None)
    if solved is None:
        raise search.overwritten or unsolved(model, hint)
    return solved


def solve_whole(search: Search, hint: TensorType) -> Shapes | None:
    """Samples whose every size is stated, or as many numbers in a row or in planes.

    nn.CMul takes these, too: its 1×H×W may be for images of one plane.
    """
    sizes = [size for size in hint.shape[1:] if size is not None]
    if len(sizes) < max(2, hint.rank - 1):
        return None
    shapes = (tuple(sizes), (math.prod(sizes),), (1, *sizes))
    types = (TensorType((2, *shape), hint.dtype) for shape in shapes)
    return next((fixed(search.alone(type)) for type in types if search.fit(type)), None)


def batched(model: Model, type: Nested[TensorType]) -> Nested[TensorType]:
    """Two samples where Torch refuses one: nn.View(2, 3) drops the batch of a single one."""
    return type if walked(model, type) is not None else with_batches(model, type, 2)


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
