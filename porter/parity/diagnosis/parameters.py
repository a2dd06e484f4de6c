"""Hypotheses about a layer's parameters.

Left out, added twice, transposed, flipped, read in another order, exchanged with each other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from porter.ir.fields import Array, Param
from porter.parity.diagnosis.situation import Arrays, Hypothesis, Situation, varied

PLANE_NAMES = {"O": "output planes", "I": "input planes (as in RGB and BGR)", "C": "planes"}


def about_parameters(at: Situation) -> Iterator[Hypothesis]:
    """Left out, added twice, transposed, flipped, read in another order, exchanged."""
    parameters = {name: p for name, p in at.op.params().items() if p.array.size}
    for name, parameter in parameters.items():
        yield varied(at, f"`{name}` is left out", name, None)
        for cause, array in rearranged(name, parameter):
            yield varied(at, cause, name, replace(parameter, array=array))
    for a, b in itertools.combinations(parameters, 2):
        if parameters[a].shape == parameters[b].shape:
            yield exchanged(at, a, b, parameters)


def exchanged(at: Situation, a: str, b: str, parameters: dict[str, Param]) -> Hypothesis:
    """Two parameters of one shape in each other's place."""

    def outputs() -> Arrays:
        exchanged = {
            a: replace(parameters[a], array=parameters[b].array),
            b: replace(parameters[b], array=parameters[a].array),
        }
        return at.run(at.op.evolve(**exchanged))

    return Hypothesis(f"`{a}` and `{b}` are exchanged", outputs)


def rearranged(name: str, parameter: Param) -> Iterator[tuple[str, Array]]:
    """Other arrays that a parameter may have been mistaken for."""
    array, axes = parameter.array.astype(np.float64), parameter.axes
    space = [axis for axis, letter in enumerate(axes) if letter in "THW" and len(axes) > 2]
    for a, b in itertools.combinations(range(array.ndim), 2):
        if array.shape[a] == array.shape[b] > 1:
            what = "transposed" if {a, b} <= set(space) or array.ndim == 2 else "swapped"
            yield f"axes {axes[a]} and {axes[b]} of `{name}` are {what}", array.swapaxes(a, b)
    if len(space) > 1:
        yield (
            f"`{name}` is flipped (a convolution, not a correlation)",
            np.flip(array, tuple(space)),
        )
    for axis, letter in enumerate(axes):
        if array.shape[axis] > 1:
            which = PLANE_NAMES.get(letter, f"axis {letter}")
            yield f"the {which} of `{name}` are in reverse order", np.flip(array, axis)
    for order in itertools.permutations(range(array.ndim)):
        # As if the bytes of one order of axes were read as those of another.
        if array.ndim > 1 and list(order) != sorted(order):
            source = array.transpose(order)
            letters = "".join(axes[i] for i in order)
            yield (
                f"`{name}` is read as {letters} where {axes} is meant",
                source.reshape(array.shape),
            )
    if array.ndim > 1 or array.size > 1:
        yield from blocks(name, array, axes)
    yield f"`{name}` counts twice", 2 * array
    yield f"`{name}` is zero", np.zeros_like(array)
    yield f"`{name}` is one", np.ones_like(array)
    yield f"`{name}` has the other sign", -array
    if (array > 0).all():
        yield f"`{name}` is squared", array**2
        yield f"the root of `{name}` is taken", np.sqrt(array)
        yield f"`{name}` is inverted", 1 / array
    yield f"`{name}` is rounded to half precision", array.astype(np.float16).astype(np.float64)


def blocks(name: str, array: Array, axes: str) -> Iterator[tuple[str, Array]]:
    """Gates of recurrent layers (2 to 4 blocks along one axis) in another order."""
    for axis, letter in enumerate(axes):
        for count in (2, 3, 4):
            if letter != "G" or array.shape[axis] % count:
                continue
            parts = np.split(array, count, axis)
            for order in itertools.permutations(range(count)):
                if list(order) != sorted(order):
                    shown_order = " ".join(str(i + 1) for i in order)
                    cause = f"the {count} blocks of `{name}` are in the order {shown_order}"
                    yield cause, np.concatenate([parts[i] for i in order], axis)
