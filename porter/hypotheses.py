"""What may have gone wrong in a layer: the layer once more, with one thing changed.

Every hypothesis is a sentence and what the NumPy reference makes if it holds. They come from the
declarations of a layer map alone (its fields, the axes of its parameters, the layouts in which it
ran), so that a user's own map gets them too. Simple and frequent mistakes come first.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from porter.fields import Array, Field, Param
from porter.layer import LayerMap
from porter.layout import Layout, from_torch, to_torch

Arrays = tuple[Array, ...]
EPSILONS = (0.0, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-12)
PADDINGS = {"edge": "the nearest pixel", "reflect": "its mirror image", "constant": "zeros"}
PLANE_NAMES = {"O": "output planes", "I": "input planes (as in RGB and BGR)", "C": "planes"}


@dataclass(frozen=True)
class Situation:
    """A layer at work: its inputs in Torch's order and the layouts in which TensorFlow held them."""

    op: LayerMap
    inputs: Arrays
    layouts: tuple[Layout, ...] = ()
    output_layouts: tuple[Layout, ...] = ()

    def run(self, op: LayerMap | None = None, inputs: Arrays | None = None) -> Arrays:
        """What the reference makes, of a changed layer or of changed inputs."""
        made = (op or self.op).reference(*(self.inputs if inputs is None else inputs))
        return tuple(made) if isinstance(made, tuple) else (made,)


@dataclass(frozen=True)
class Hypothesis:
    """A sentence that goes on from "when", and what the reference makes if it is true."""

    cause: str
    outputs: Callable[[], Arrays]


def hypotheses(at: Situation, made: Arrays) -> Iterator[Hypothesis]:
    """All hypotheses about a layer whose reference makes `made`."""
    yield from about_fields(at)
    yield from about_parameters(at)
    yield from about_padding(at)
    yield from about_layouts(at)
    yield from about_inputs(at)
    yield from about_outputs(at, made)


# The layer's fields ------------------------------------------------------------------------------


def about_fields(at: Situation) -> Iterator[Hypothesis]:
    """Flags toggled, sizes swapped, axes and sizes off by one, other epsilons and factors."""
    declared = at.op.fields()
    for name in declared:
        value = getattr(at.op, name, None)
        for other in others(name, value, at.op, declared):
            yield varied(at, f"`{name}` is {shown(other)} instead of {shown(value)}", name, other)


def others(name: str, value: Any, op: LayerMap, declared: dict[str, Field[Any]]) -> list[Any]:
    """Values that a field may have been mistaken for."""
    found: list[Any] = []
    if isinstance(value, bool):
        found = [not value]
    elif isinstance(value, int):
        found = [value - 1, value + 1, 0, 1]
    elif isinstance(value, float):
        sizes = [
            size
            for other in declared
            for size in [getattr(op, other, None)]
            if isinstance(size, int) and size > 1
        ]
        small = list(EPSILONS) if value < 0.01 else []
        scaled = [factor for size in sizes for factor in (value * size, value / size)]
        found = [*small, *scaled, 1 - value, -value, value * 10, value / 10, 0.0, 1.0]
    elif isinstance(value, tuple) and value and all(isinstance(each, int) for each in value):
        pairs = tuple(itertools.chain(*((b, a) for a, b in zip(value[::2], value[1::2]))))
        half = len(value) // 2
        found = [value[::-1], value[half:] + value[:half], pairs]
        found += [tuple(0 for _ in value), tuple(1 for _ in value)]
        found += [tuple(each + step for each in value) for step in (-1, 1)]
        found = [each for each in found if len(each) == len(value)]
    distinct = dict.fromkeys(each for each in found if each != value)
    return list(distinct)


def varied(at: Situation, cause: str, name: str, value: Any) -> Hypothesis:
    """The layer with one field or parameter changed."""

    def outputs() -> Arrays:
        op = copy.copy(at.op)
        op.__dict__[name] = value
        return at.run(op)

    return Hypothesis(cause, outputs)


# Its parameters ----------------------------------------------------------------------------------


def about_parameters(at: Situation) -> Iterator[Hypothesis]:
    """Left out, added twice, transposed, flipped, read in another order, exchanged."""
    parameters = {name: p for name, p in at.op.params().items() if p.array.size}
    for name, parameter in parameters.items():
        for cause, array in rearranged(name, parameter):
            yield varied(at, cause, name, replace(parameter, array=array))
        if len(parameter.axes) == 1:
            yield varied(at, f"`{name}` is left out", name, None)
    for a, b in itertools.combinations(parameters, 2):
        if parameters[a].shape == parameters[b].shape:
            yield exchanged(at, a, b, parameters)


def exchanged(at: Situation, a: str, b: str, parameters: dict[str, Param]) -> Hypothesis:
    """Two parameters of one shape in each other's place."""

    def outputs() -> Arrays:
        op = copy.copy(at.op)
        op.__dict__[a] = replace(parameters[a], array=parameters[b].array)
        op.__dict__[b] = replace(parameters[b], array=parameters[a].array)
        return at.run(op)

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
        yield f"`{name}` is flipped (a convolution, not a correlation)", np.flip(array, space)
    for axis, letter in enumerate(axes):
        if array.shape[axis] > 1:
            which = PLANE_NAMES.get(letter, f"axis {letter}")
            yield f"the {which} of `{name}` are in reverse order", np.flip(array, axis)
    for order in itertools.permutations(range(array.ndim)):
        # As if the bytes of one order of axes were read as those of another.
        if array.ndim > 1 and list(order) != sorted(order):
            source = array.transpose(order)
            letters = "".join(axes[i] for i in order)
            yield f"`{name}` is read as {letters} where {axes} is meant", source.reshape(array.shape)
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


# Padding -----------------------------------------------------------------------------------------


def about_padding(at: Situation) -> Iterator[Hypothesis]:
    """Padding on one side only, or made of something else."""
    pad, pads = getattr(at.op, "pad", None), getattr(at.op, "pads", None)
    if isinstance(pad, tuple) and any(pad) and len(at.inputs) == 1:
        for cause, pairs in (
            ("all padding lies behind the image", [(0, 2 * each) for each in pad]),
            ("all padding lies before the image", [(2 * each, 0) for each in pad]),
            ("there is one pixel less before and one more behind", [(p - 1, p + 1) for p in pad]),
            ("there is no padding behind the image", [(each, 0) for each in pad]),
            ("padding consists of zeros", [(each, each) for each in pad]),
        ):
            if min(min(pair) for pair in pairs) >= 0:
                yield padded(at, cause, pairs, "constant", field="pad")
        for mode in ("edge", "reflect", "symmetric"):
            around = [(each, each) for each in pad]
            what = PADDINGS.get(mode, "its mirror image with the border repeated")
            yield padded(at, f"an image is continued by {what}", around, mode, field="pad")
    if isinstance(pads, tuple) and len(pads) % 2 == 0 and min(pads, default=-1) >= 0:
        around = list(zip(pads[::2], pads[1::2], strict=True))
        for mode in ("edge", "reflect", "symmetric", "constant"):
            what = PADDINGS.get(mode, "its mirror image with the border repeated")
            yield padded(at, f"an image is continued by {what}", around, mode)


def padded(
    at: Situation, cause: str, pairs: list[tuple[int, int]], mode: Any, field: str = ""
) -> Hypothesis:
    """The layer without its own padding (`field`) on an image padded by hand."""

    def outputs() -> Arrays:
        x = at.inputs[0]
        around = [(0, 0)] * (x.ndim - len(pairs)) + pairs
        image = np.pad(x, around, mode=mode)
        if not field:
            return (image,)
        op = copy.copy(at.op)
        op.__dict__[field] = tuple(0 for _ in pairs)
        return at.run(op, (image,))

    return Hypothesis(cause, outputs)


# Layouts and inputs ------------------------------------------------------------------------------


def about_layouts(at: Situation) -> Iterator[Hypothesis]:
    """TensorFlow's order of axes or features taken for Torch's."""
    if all(layout.is_torch for layout in at.layouts):
        return

    def outputs() -> Arrays:
        stored = tuple(from_torch(x, lay) for x, lay in zip(at.inputs, at.layouts, strict=True))
        made = at.run(inputs=stored)
        return tuple(
            to_torch(y, lay) if lay.flat is not None or y.ndim == len(lay.order) else y
            for y, lay in zip(made, at.output_layouts, strict=True)
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
    if len(at.inputs) > 1:
        yield with_inputs(at, "the inputs are in reverse order", lambda xs: xs[::-1])
        for position in range(len(at.inputs)):
            rest = at.inputs[:position] + at.inputs[position + 1 :]
            yield with_inputs(at, f"input {position + 1} is left out", lambda _, rest=rest: rest)
    highest = max((x.ndim for x in at.inputs), default=0)
    if highest >= 3:
        yield with_inputs(
            at, "H and W of the input are swapped", each(lambda x: x.swapaxes(-1, -2))
        )
    for axis in range(highest):
        named = "planes" if axis == (1 if highest != 3 else 0) else f"elements of axis {axis}"
        yield with_inputs(
            at,
            f"the {named} of the input are in reverse order",
            each(lambda x, axis=axis: np.flip(x, axis) if axis < x.ndim else x),
        )
    yield with_inputs(at, "the input has the other sign", each(np.negative))


def each(change: Callable[[Array], Array]) -> Callable[[Arrays], Arrays]:
    """The same change for every input."""
    return lambda xs: tuple(change(x) for x in xs)


def with_inputs(at: Situation, cause: str, change: Callable[[Arrays], Arrays]) -> Hypothesis:
    return Hypothesis(cause, lambda: at.run(inputs=change(at.inputs)))


# Outputs -----------------------------------------------------------------------------------------


def about_outputs(at: Situation, made: Arrays) -> Iterator[Hypothesis]:
    """The right numbers in other places, through another function, or the layer left out."""

    def changed(cause: str, change: Callable[[Array], Array]) -> Hypothesis:
        return Hypothesis(cause, lambda: tuple(change(y) for y in made))

    if len(made) == 1:
        for position, x in enumerate(at.inputs, start=1):
            which = f"input {position}" if len(at.inputs) > 1 else "the input"
            yield Hypothesis(f"{which} is handed on unchanged", lambda x=x: (x,))
    rank = made[0].ndim
    for a, b in itertools.combinations(range(rank), 2):
        yield changed(
            f"axes {a} and {b} of the output are swapped",
            lambda y, a=a, b=b: y.swapaxes(a, b) if max(a, b) < y.ndim else y,
        )
    for axis in range(rank):
        yield changed(
            f"axis {axis} of the output is reversed",
            lambda y, axis=axis: np.flip(y, axis) if axis < y.ndim else y,
        )
        for step in (-1, 1):
            yield changed(
                f"the output is shifted by {step:+d} along axis {axis}",
                lambda y, axis=axis, step=step: np.roll(y, step, axis) if axis < y.ndim else y,
            )
    functions: tuple[tuple[str, Callable[[Array], Array]], ...] = (
        ("the output has the other sign", np.negative),
        ("a ReLU follows", lambda y: np.maximum(y, 0)),
        ("the absolute value is taken", np.abs),
        ("the output is squared", np.square),
        ("the root of the output is taken", np.sqrt),
        ("the exponential of the output is taken", np.exp),
        ("the logarithm of the output is taken", np.log),
        ("the output is inverted", np.reciprocal),
        ("the output is rounded to whole numbers", np.rint),
        ("the output is clipped to 0 … 1", lambda y: np.clip(y, 0, 1)),
    )
    for cause, function in functions:
        yield changed(cause, function)


def shown(value: Any) -> str:
    """A field's value as it is read best."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    return "×".join(map(str, value)) if isinstance(value, tuple) else str(value)
