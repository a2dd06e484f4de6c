"""A picture large enough for everything that is served.

What is rewritten for speed takes other ways with larger pictures than those that layers are proven
on: small ones take the layers as they are, large ones Winograd's tiles (porter/passes/). So what
is written is also compared with the layers as they are, on a picture that takes every way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from porter.emit.formats import VerificationSample
from porter.errors import TooLarge, WalkError
from porter.frontend.inputs import draw_all, with_batch
from porter.frontend.walker import Model
from porter.ir.graph import Graph, TensorType
from porter.ir.nested import Nested, leaves, map_leaves, named_leaves
from porter.passes import optimize
from porter.passes.normalization import FusedNormalization
from porter.passes.small_inputs import MIN_PIXELS
from porter.passes.winograd_regions import WinogradRegion
from porter.runtime import memory

if TYPE_CHECKING:
    from porter.emit.port import Port

LARGEST = 640 * 640
"""Pixels of a picture for which a conversion takes the time."""
MAX_WIDEST = 64_000_000
"""Elements at one layer for which it takes the memory: generators make large images of small."""


def larger_check(
    model: Model, types: Nested[TensorType], port: Port, optimized: str, allowed: float
) -> VerificationSample | None:
    """What the layers of a port make of a large picture; `types` are small ones that it takes.

    None where sizes are fixed, where larger pictures take no other way, and where memory is short.
    """
    from porter.runtime.runner import load, run, store

    chosen = large_types(model, types, port.graph, optimized)
    if chosen is None:
        return None
    arrays = draw_all("uniform", model.walk(chosen), chosen, np.random.default_rng(1))
    named = named_leaves(port.graph.inputs, "input")
    stored = {
        name: store(array, value, port.plan.inputs[value.id], "float32")
        for (name, value), array in zip(named, leaves(arrays), strict=True)
    }
    outputs = run(port.plan, {value.id: stored[name] for name, value in named}, port.variables)
    expected = [
        load(outputs[each.id], port.plan.outputs[each.id]) for each in leaves(port.graph.outputs)
    ]
    inputs = {name: np.asarray(tensor) for name, tensor in stored.items()}
    label = ", ".join(str(type) for type in leaves(chosen))
    return VerificationSample(label, inputs, tuple(expected), allowed)


def large_types(
    model: Model, types: Nested[TensorType], graph: Graph, optimized: str
) -> Nested[TensorType] | None:
    """The least multiple of some sizes for which every way for large pictures is taken.

    One of the largest pictures that are allowed where some are not taken even then.
    """
    nodes = optimize(graph, optimized).nodes
    found = None
    if any(isinstance(node.op, FusedNormalization | WinogradRegion) for node in nodes):
        for grown in larger(types, graph):
            try:
                walked = model.walk(grown)
                memory.require(walked, "a larger picture")
            except TooLarge:
                break
            except WalkError:
                continue
            if memory.widest(walked) > MAX_WIDEST:
                break
            found = grown
            if all(takes_all(walked, optimized)):
                break
    return found


def larger(types: Nested[TensorType], graph: Graph) -> Iterator[Nested[TensorType]]:
    """One sample of types, all free heights and widths 2, 3, 4 … times as large."""
    free = [each.type.shape[2:] == (None, None) for each in leaves(graph.inputs)]
    for factor in count(2) if any(free) else ():
        grown = [
            scaled(type, factor) if is_free else with_batch(type, 1)
            for type, is_free in zip(leaves(types), free, strict=True)
        ]
        if max(map(pixels, grown)) > LARGEST:
            return
        following = iter(grown)
        yield map_leaves(lambda _: next(following), types)  # noqa: B023


def scaled(type: TensorType, factor: int) -> TensorType:
    """One picture, so many times as high and as wide."""
    _, planes, height, width = type.static
    return replace(type, shape=(1, planes, factor * height, factor * width))


def pixels(type: TensorType) -> int:
    return math.prod(type.static[2:])


def takes_all(graph: Graph, optimized: str) -> Iterator[bool]:
    """Of each way for large pictures whether a walked graph takes it."""
    yield max(pixels(each.type) for each in leaves(graph.inputs)) >= MIN_PIXELS
    for node in optimize(graph, optimized).nodes:
        if isinstance(node.op, WinogradRegion):
            yield pixels(node.outputs[0].type) >= node.op.smallest_image()
