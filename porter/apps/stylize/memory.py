"""Whether a picture fits into memory, estimated from the net's graph before the picture runs.

The graph is traced for the picture's size, which computes nothing; TensorFlow frees a tensor when
its last reader is done, and lets elementwise operations write over their input. A picture that does
not fit runs in bands, where the net's layers are known.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
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
SPARE = 0.8
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
        + (
            ""
            if net.from_torch
            else "; run from its .t7 a net takes less, since it can run in bands"
        ),
    )


def peak(graph: Any) -> int:
    """Bytes of the tensors that are alive at once, at most, when a GraphDef runs in its order.

    Its nodes need shapes. A function that it calls, a branch say, is given those of its inputs.
    """
    last = {source: at for at, node in enumerate(graph.node) for source in sources(node)}
    shapes = {node.name: output_shapes(node) for node in graph.node}
    alive: dict[str, int] = {}
    total = most = 0
    for at, node in enumerate(graph.node):
        ending = [source for source in sources(node) if last[source] == at and source in alive]
        size = elements(node) * NUMBER
        reuses = node.op in IN_PLACE and any(alive[source] == size for source in ending)
        bodies = [peak(body) for body in called(node, shapes, graph.library)]
        alive[node.name] = size
        total += size
        most = max(most, total + max(bodies, default=0) - (size if reuses else 0))
        for source in ending if node.name in last else [*ending, node.name]:
            total -= alive.pop(source)
    return most


def peak_of_flat(interpreter: Any) -> int:
    """The same for a flat buffer whose tensors are laid out."""
    sizes = sizes_of_flat(interpreter)
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


def is_laid_out(interpreter: Any) -> bool:
    """Whether the sizes of a flat buffer's tensors are known before it runs."""
    (output,) = interpreter.get_output_details()
    try:
        interpreter.get_tensor(output["index"])
    except ValueError:  # there is no memory for it yet
        return False
    return True


def kept_by_flat(interpreter: Any) -> int:
    """Bytes of the tensors whose sizes a flat buffer finds when it runs; it does, once.

    Each gets memory of its own, which it keeps until the end.
    """
    (image,) = interpreter.get_input_details()
    before = sum(sizes_of_flat(interpreter).values())
    interpreter.set_tensor(image["index"], np.zeros(image["shape"], image["dtype"]))
    interpreter.invoke()
    return sum(sizes_of_flat(interpreter).values()) - before


def sizes_of_flat(interpreter: Any) -> dict[int, int]:
    """Bytes of each tensor of a flat buffer."""
    return {
        int(each["index"]): math.prod(map(int, each["shape"])) * np.dtype(each["dtype"]).itemsize
        for each in interpreter.get_tensor_details()
    }


def sources(node: Any) -> set[str]:
    """The nodes that a node reads."""
    return {name.split(":")[0] for name in node.input if not name.startswith("^")}


def called(node: Any, shapes: Mapping[str, Sequence[Any]], library: Any) -> Iterator[Any]:
    """The functions that a node calls, as GraphDefs with shapes for what the node hands them."""
    names = {attribute.func.name for attribute in node.attr.values() if attribute.func.name}
    if not names:
        return
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

    from porter.system.tensorflow import tf

    data = [name.split(":") for name in node.input if not name.startswith("^")]
    for function in (each for each in library.function if each.signature.name in names):
        # What comes before its arguments chooses a branch.
        arguments = data[len(data) - len(function.signature.input_arg) :]
        known = [shapes[name][int(at[0]) if at else 0] for name, *at in arguments]
        open_sizes = copy.deepcopy(function)
        open_sizes.ClearField("arg_attr")
        with tf.Graph().as_default():
            tf.graph_util.import_graph_def(tf.compat.v1.GraphDef(library=library), name="")
            body = function_def_to_graph(open_sizes, input_shapes=known)
        definition = body.as_graph_def(add_shapes=True)
        definition.library.CopyFrom(library)
        order = {each.name: at for at, each in enumerate(function.node_def)}
        definition.node.sort(key=lambda each: order.get(each.name, -1))  # as it runs
        yield definition


def output_shapes(node: Any) -> Sequence[Any]:
    """The shapes of a node's outputs."""
    return node.attr["_output_shapes"].list.shape if "_output_shapes" in node.attr else ()


def elements(node: Any) -> int:
    """How many numbers a node makes, where its shapes are known."""
    if node.op in FREE:
        return 0
    shapes = [shape for shape in output_shapes(node) if not shape.unknown_rank]
    sizes = [[axis.size for axis in shape.dim] for shape in shapes]
    return sum(math.prod(extents) for extents in sizes if min(extents, default=1) >= 0)
