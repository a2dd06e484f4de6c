"""Hypotheses about a layer's declared fields and about what surrounds its image.

Flags toggled, sizes swapped, axes and sizes off by one, other epsilons and factors; padding on one
side only, or made of something else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from porter.ir.fields import Field
from porter.ir.layer_map import LayerMap
from porter.parity.diagnosis.situation import Arrays, Hypothesis, Situation, varied

EPSILONS = (0.0, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-12)
PADDINGS = {
    "edge": "the nearest pixel",
    "reflect": "its mirror image",
    "symmetric": "its mirror image with the border repeated",
    "constant": "zeros",
}


def about_fields(at: Situation) -> Iterator[Hypothesis]:
    """Flags toggled, sizes swapped, axes and sizes off by one, other epsilons and factors."""
    declared = at.op.fields()
    flags_first = sorted(declared, key=lambda name: not isinstance(getattr(at.op, name, 0), bool))
    for name in flags_first:
        value = getattr(at.op, name, None)
        for other in others(name, value, at.op, declared):
            cause = f"`{name}` is {shown(other)} instead of {shown(value)}"
            if at.of_oracle:
                cause = at.op.causes.get((name, other), cause)
            yield varied(at, cause, name, other)


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
        pairs = tuple(value[i ^ 1] for i in range(len(value) // 2 * 2))
        half = len(value) // 2
        found = [value[::-1], value[half:] + value[:half], pairs]
        found += [tuple(0 for _ in value), tuple(1 for _ in value)]
        found += [tuple(each + step for each in value) for step in (-1, 1)]
        found = [each for each in found if len(each) == len(value)]
    distinct = dict.fromkeys(each for each in found if each != value)
    return list(distinct)


def shown(value: Any) -> str:
    """A field's value, formatted for people."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    return "×".join(map(str, value)) if isinstance(value, tuple) else str(value)


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
            yield padded(
                at, f"an image is continued by {PADDINGS[mode]}", around, mode, field="pad"
            )
    if isinstance(pads, tuple) and len(pads) % 2 == 0 and min(pads, default=-1) >= 0:
        around = list(zip(pads[::2], pads[1::2], strict=True))
        for mode in ("edge", "reflect", "symmetric", "constant"):
            yield padded(at, f"an image is continued by {PADDINGS[mode]}", around, mode)


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
        unpadded = at.op.evolve(**{field: tuple(0 for _ in pairs)})
        return at.run(unpadded, (image,))

    return Hypothesis(cause, outputs)
