"""Find the inputs of a model that takes several: each is told by the layer that reads it."""

from __future__ import annotations

from dataclasses import replace

from porter.frontend import stated_sizes
from porter.frontend.backtracking import Backtracking
from porter.frontend.batch_rows import Fit, fit_of
from porter.frontend.dynamic import generalise
from porter.frontend.inputs import Shapes, walked, with_indices
from porter.frontend.module_tree import submodules
from porter.frontend.probe import InputProbe, TypeNeeded, arranged, concrete, with_index_rank
from porter.frontend.shape_needed import ambiguous, count_of
from porter.frontend.trial_sizes import FIXED_SIZES, SMALL_SIZES, TINY_SIZES, squares
from porter.frontend.trials import PROBE_CALLS, Search
from porter.frontend.walker import Model
from porter.ir.graph import INT, TensorType
from porter.ir.nested import Nested, leaves
from porter.torch7 import Tensor

MAX_WIDTHS = 64
"""How many widths of layers are tried as the length of a tensor that is joined to others."""


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
