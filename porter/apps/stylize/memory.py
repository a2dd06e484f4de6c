"""Whether a picture fits into memory, estimated from the net's graph before the picture runs.

The graph is traced for the picture's size, which computes nothing; TensorFlow frees a tensor when
its last reader is done, and lets elementwise operations write over their input. A picture that does
not fit runs in bands, where the net's layers are known.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from porter.errors import OutOfMemory
from porter.ir.fields import Array
from porter.ir.liveness import dead_after
from porter.runtime import memory

if TYPE_CHECKING:
    from porter.apps.stylize.runners import Net

Call = Callable[[Array], Array]
"""Pictures as the net takes them, N×H×W×C, to what it makes of them."""

SMALL = 1_000_000
"""Pixels up to which nobody asks: tracing costs more time than it could save."""
IMAGE_BYTES = 60
"""For each pixel: the picture in 8 bits and in float32, before and after the net."""
COPIES = 2
"""TensorFlow's convolutions keep what they read and write once more in an order of their own;
measured with the oilpaint net at 1500² and 3000² pixels: 2.0 and 2.2."""
SPARE = 0.9
"""Part of the free memory that a suggested size would fill."""
NUMBER = 4
"""Bytes of float32."""
FREE = ("Const", "ReadVariableOp", "VarHandleOp", "NoOp")
"""Operations that allocate nothing that grows with the picture."""
IN_PLACE = (
    *("Identity", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "BiasAdd", "Relu", "Tanh"),
    *("LeakyRelu", "Elu", "Sigmoid", "Add", "AddV2", "Sub", "Mul", "RealDiv", "Maximum", "Minimum"),
)
"""Operations that hand on the memory of an input which nobody else reads."""


def require_room(net: Net, height: int, width: int, count: int = 1) -> Call:
    """What runs `count` pictures of this size in the memory of a CPU: the net, or bands of it.

    Raises OutOfMemory where they must exhaust it.
    """
    pixels = height * width * count
    free = memory.available()
    if free is None or pixels <= SMALL:
        return net
    needed = IMAGE_BYTES * pixels + COPIES * net.activations(height, width, count)
    if needed <= free:
        return net
    bands = net.bands(height, width)
    if bands is not None:
        left = free - IMAGE_BYTES * pixels
        rows = bands.rows_within(left)
        if rows is not None:
            return lambda x: np.concatenate([bands.run(each[None], rows) for each in x])
        needed = min(needed, IMAGE_BYTES * pixels + bands.memory(1))
    longest = int(max(height, width) * math.sqrt(SPARE * free / needed))
    raise OutOfMemory(
        f"a picture of {height}×{width} takes about {memory.gigabytes(needed)} of memory",
        received=f"{memory.gigabytes(free)} are free",
        hint=f"its longer side may have about {longest} pixels: `image_size={longest}`"
        + ("" if bands else "; run from its .t7 a net takes less, since it can run in bands"),
    )


def functions(graph: Any) -> dict[str, Any]:
    """The functions of a GraphDef by name."""
    return {each.signature.name: each for each in graph.library.function}


def peak(nodes: Iterable[Any], library: Mapping[str, Any]) -> int:
    """Bytes of the tensors that are alive at once, at most, when the nodes run in their order."""
    in_order = list(nodes)
    last = {source: at for at, node in enumerate(in_order) for source in sources(node)}
    alive: dict[str, int] = {}
    total = most = 0
    for at, node in enumerate(in_order):
        ending = [source for source in sources(node) if last[source] == at and source in alive]
        size = elements(node) * NUMBER
        reuses = node.op in IN_PLACE and any(alive[source] == size for source in ending)
        bodies = [peak(library[name].node_def, library) for name in called(node, library)]
        alive[node.name] = size
        total += size
        most = max(most, total + max(bodies, default=0) - (size if reuses else 0))
        for source in ending if node.name in last else [*ending, node.name]:
            total -= alive.pop(source)
    return most


def peak_of_flat(interpreter: Any) -> int:
    """The same for a flat buffer whose tensors are allocated."""
    sizes = {
        tensor["index"]: math.prod(map(int, tensor["shape"])) * np.dtype(tensor["dtype"]).itemsize
        for tensor in interpreter.get_tensor_details()
    }
    inputs = [int(tensor["index"]) for tensor in interpreter.get_input_details()]
    outputs = [int(tensor["index"]) for tensor in interpreter.get_output_details()]
    operations = [list(map(int, each["outputs"])) for each in interpreter._get_ops_details()]
    computed = {*inputs, *itertools.chain(*operations)}
    steps = [
        [index for index in map(int, (*each["inputs"], *each["outputs"])) if index in computed]
        for each in interpreter._get_ops_details()
    ]
    dead = dead_after(steps, outputs)
    alive = set(inputs)
    most = 0
    for at, step in enumerate(steps):
        alive |= set(step)
        most = max(most, sum(sizes.get(index, 0) for index in alive))
        alive -= set(dead.get(at, ()))
    return most


def sources(node: Any) -> set[str]:
    """The nodes that a node reads."""
    return {name.split(":")[0] for name in node.input if not name.startswith("^")}


def called(node: Any, library: Mapping[str, Any]) -> list[str]:
    """The functions that a node calls."""
    named = [attribute.func.name for attribute in node.attr.values() if attribute.func.name]
    return [name for name in named if name in library]


def elements(node: Any) -> int:
    """How many numbers a node makes, where its shapes are known."""
    if node.op in FREE:
        return 0
    shapes = node.attr["_output_shapes"].list.shape if "_output_shapes" in node.attr else []
    sizes = [[axis.size for axis in shape.dim] for shape in shapes if not shape.unknown_rank]
    return sum(math.prod(extents) for extents in sizes if min(extents, default=1) >= 0)
