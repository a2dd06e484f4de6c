"""Hypotheses about what goes in and out: layouts, order of inputs, outputs in other places."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from porter.ir.fields import Array
from porter.ir.layout import from_torch, to_torch
from porter.parity.diagnosis.situation import Arrays, Hypothesis, Situation

FUNCTIONS: tuple[tuple[str, Callable[[Array], Array]], ...] = (
    ("the output has the other sign", np.negative),
    ("a ReLU follows", partial(np.maximum, 0)),
    ("the absolute value is taken", np.abs),
    ("the output is squared", np.square),
    ("the root of the output is taken", np.sqrt),
    ("the exponential of the output is taken", np.exp),
    ("the logarithm of the output is taken", np.log),
    ("the output is inverted", np.reciprocal),
    ("the output is rounded to whole numbers", np.rint),
    ("the output is clipped to 0 … 1", partial(np.clip, a_min=0, a_max=1)),
)


def about_layouts(at: Situation) -> Iterator[Hypothesis]:
    """TensorFlow's order of axes or features mistaken for Torch's."""
    if all(layout.is_torch for layout in at.layouts):
        return

    def outputs() -> Arrays:
        stored = tuple(from_torch(x, lay) for x, lay in zip(at.inputs, at.layouts, strict=True))
        outputs = at.run(inputs=stored)
        return tuple(
            to_torch(y, lay) if lay.flat is not None or y.ndim == len(lay.order) else y
            for y, lay in zip(outputs, at.output_layouts, strict=True)
        )

    flat = any(layout.flat is not None for layout in at.layouts)
    yield Hypothesis(
        "features flattened channels-last are taken for Torch's order (C, H, W)"
        if flat
        else "axes are counted in TensorFlow's order (channels last) instead of Torch's",
        outputs,
    )


def about_inputs(at: Situation) -> Iterator[Hypothesis]:
    """Tables in reverse order, H and W swapped, planes reversed."""

    def changed(cause: str, xs: Arrays) -> Hypothesis:
        return Hypothesis(cause, partial(at.run, inputs=xs))

    if len(at.inputs) > 1:
        yield changed("the inputs are in reverse order", at.inputs[::-1])
        for position in range(len(at.inputs)):
            rest = at.inputs[:position] + at.inputs[position + 1 :]
            yield changed(f"input {position + 1} is left out", rest)
    highest = max((x.ndim for x in at.inputs), default=0)
    if highest >= 3:
        yield changed("H and W of the input are swapped", every(swapped(-1, -2), at.inputs))
    for axis in range(highest):
        named = "planes" if axis == (0 if highest == 3 else 1) else f"elements of axis {axis}"
        cause = f"the {named} of the input are in reverse order"
        yield changed(cause, every(reversed_along(axis), at.inputs))
    yield changed("the input has the other sign", every(np.negative, at.inputs))


def about_outputs(at: Situation, outputs: Arrays) -> Iterator[Hypothesis]:
    """The right numbers in other places, through another function, or the layer left out."""

    def changed(cause: str, change: Callable[[Array], Array]) -> Hypothesis:
        return Hypothesis(cause, partial(every, change, outputs))

    for position, x in enumerate(at.inputs, start=1):
        which = f"input {position}" if len(at.inputs) > 1 else "the input"
        yield Hypothesis(f"{which} is handed on unchanged", partial(tuple, (x,)))
    rank = outputs[0].ndim
    for a, b in itertools.combinations(range(rank), 2):
        yield changed(f"axes {a} and {b} of the output are swapped", swapped(a, b))
    for axis in range(rank):
        yield changed(f"axis {axis} of the output is reversed", reversed_along(axis))
        for step in (-1, 1):
            cause = f"the output is shifted by {step:+d} along axis {axis}"
            yield changed(cause, partial(np.roll, shift=step, axis=axis))
    for cause, function in FUNCTIONS:
        yield changed(cause, function)


def every(change: Callable[[Array], Array], arrays: Arrays) -> Arrays:
    """The same change for all arrays."""
    return tuple(change(array) for array in arrays)


def swapped(a: int, b: int) -> Callable[[Array], Array]:
    """Two axes exchanged; an array without them stays as it is."""
    needed = max(a + 1, b + 1, -a, -b)
    return lambda x: x.swapaxes(a, b) if x.ndim >= needed else x


def reversed_along(axis: int) -> Callable[[Array], Array]:
    """One axis reversed; an array without it stays as it is."""
    return lambda x: np.flip(x, axis) if x.ndim > axis else x
