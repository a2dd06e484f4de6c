"""The errors of models whose input was not found: what is known of it, and what to give."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice

from porter.errors import MALFORMED, PorterError, ShapeNeeded, TooLarge, WalkError
from porter.frontend.backtracking import traced_hints
from porter.frontend.batch_rows import Fit, fit_of
from porter.frontend.inputs import (
    EXAMPLES,
    GIVE_SHAPE,
    NO_SHAPE,
    shape_template,
    shown_shape,
    stated_hints,
    walked,
)
from porter.frontend.probe import UNKNOWN, InputProbe, Reader, TypeNeeded, concrete, first_reader
from porter.frontend.trial_sizes import FIXED_SIZES, SMALL_SIZES, rare_sizes, squares
from porter.frontend.trials import PROBE_CALLS
from porter.frontend.walker import Model
from porter.ir.capabilities import TellsInput
from porter.ir.graph import TensorType
from porter.ir.nested import Nested, leaves

MAX_HINTS = 2
"""How many layers that take images are asked where the first layer that takes something fails."""


def is_renamed(reader: Reader | None) -> bool:
    """Whether the axes of an input are renamed before a layer reads it that tells more."""
    return reader is None or isinstance(reader.op, TellsInput)


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
