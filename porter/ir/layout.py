"""Memory layouts of values in TensorFlow, chosen in one forward sweep to avoid transposes.

Torch computes on N×C×H×W, TensorFlow's fast kernels on N×H×W×C. Each layer map says which layouts
it accepts; one sweep in graph order assigns a layout to every value and inserts a transpose only
where a layer cannot take the current one. Readers of a transposed value share the transpose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from porter.errors import WalkError
from porter.ir.graph import Graph, Node, TensorType, Value
from porter.ir.map_errors import attribute_errors
from porter.ir.nested import leaves

if TYPE_CHECKING:
    from porter.ir.fields import Array, Param


@dataclass(frozen=True)
class Layout:
    """`order[i]` is the Torch axis stored at position i.

    `flat` marks a feature vector whose C·H·W elements were flattened while stored as H, W, C: its
    shape is Torch's, its elements are permuted. `flat` is (C, H, W), or (C, T, H, W).
    """

    order: tuple[int, ...]
    flat: tuple[int, ...] | None = None

    @property
    def is_torch(self) -> bool:
        return self.flat is None and self.order == tuple(range(len(self.order)))

    def axis(self, torch_axis: int) -> int:
        """Where Torch's axis is stored; negative axes count from the end."""
        return self.order.index(torch_axis % len(self.order))

    def __str__(self) -> str:
        if self.flat is not None:
            return "flat " + "×".join(map(str, self.flat))
        return "torch" if self.is_torch else "order " + "".join(map(str, self.order))


Layouts = tuple[Layout, ...]


def torch_order(rank: int) -> Layout:
    """Torch's own order of `rank` axes."""
    return Layout(tuple(range(rank)))


def channels_last(rank: int, spatial_rank: int) -> Layout:
    """The feature axis behind the `spatial_rank` spatial axes; leading axes stay where they are."""
    channel = rank - spatial_rank - 1
    if channel < 0:
        return torch_order(rank)
    order = [axis for axis in range(rank) if axis != channel] + [channel]
    return Layout(tuple(order))


def image_layout(rank: int, data_format: str) -> Layout:
    """The layout of a signature's tensors: N×H×W×C, N×T×H×W×C, or Torch's order on request."""
    if data_format == "channels_last" and rank in (4, 5):
        return channels_last(rank, rank - 2)
    return torch_order(rank)


def flat_order(flat: tuple[int, ...]) -> tuple[int, ...]:
    """Which Torch feature stands at each stored position of a `flat` vector (C first in Torch)."""
    import numpy as np

    features = np.arange(math.prod(flat)).reshape(flat)
    return tuple(int(i) for i in np.moveaxis(features, 0, -1).ravel())


def flattened(stored: Layout, image: TensorType, features: TensorType) -> Layout | None:
    """The layout of the features if an image is flattened as it is stored; None if not possible.

    It is possible in Torch's order, which gives Torch's features, and channels last, which gives
    them permuted. N×C×H×W becomes N×F (or F, where Torch drops a batch of one), C×H×W
    becomes F.
    """
    plain = torch_order(features.rank)
    if stored.is_torch:
        return plain
    channel = stored.order[-1]
    batch, sample = image.shape[:channel], image.shape[channel:]
    if stored != channels_last(image.rank, image.rank - channel - 1):
        return None
    leading = features.shape[:-1]
    drops_one = not leading and batch in ((), (1,))
    if features.rank not in (1, 2) or not (leading == batch or drops_one):
        return None
    flat = tuple(extent for extent in sample if extent is not None)
    if len(flat) < len(sample) or math.prod(flat) != features.shape[-1]:
        return None
    return plain if math.prod(flat[1:]) == 1 else Layout(plain.order, flat)


def to_torch(array: Array, layout: Layout) -> Array:
    """A stored NumPy array, put into Torch's order."""
    import numpy as np

    if layout.flat is not None:
        restored = np.empty_like(array)
        restored[..., list(flat_order(layout.flat))] = array
        return restored
    return np.transpose(array, np.argsort(layout.order))


def from_torch(array: Array, layout: Layout) -> Array:
    """A NumPy array in Torch's order, put into the stored order."""
    import numpy as np

    if layout.flat is not None:
        return array[..., list(flat_order(layout.flat))]
    return np.ascontiguousarray(np.transpose(array, layout.order))


@dataclass(frozen=True)
class LayoutConversion:
    """Move a value from one layout to another; it belongs to no Torch layer."""

    source: Value
    before: Layout
    after: Layout

    @property
    def permutation(self) -> tuple[int, ...]:
        """For tf.transpose: position in `before` of what `after` stores at each place."""
        return tuple(self.before.order.index(axis) for axis in self.after.order)

    @property
    def moves_bytes(self) -> bool:
        """Whether it is more than a reshape, as moving axes of size 1 is."""
        if self.before.flat is not None or self.after.flat is not None:
            return True
        stored = [self.source.type.shape[axis] for axis in self.before.order]
        moved = [axis for axis in self.permutation if stored[axis] != 1]
        return moved != sorted(moved)

    def apply(self, tf: Any, x: Any) -> Any:
        if self.before.flat is not None:
            shape = self.before.flat
            stored = tf.reshape(x, [-1, *shape[1:], shape[0]])
            back = tf.transpose(stored, [0, len(shape), *range(1, len(shape))])
            return tf.reshape(back, tf.shape(x))
        if self.moves_bytes:
            return tf.transpose(x, list(self.permutation))
        size = [x.shape[axis] for axis in self.permutation]
        if sum(each is None for each in size) <= 1:
            return tf.reshape(x, [-1 if each is None else each for each in size])
        return tf.transpose(x, list(self.permutation))


@dataclass(frozen=True)
class Step:
    """A node, with the layouts of its inputs and outputs."""

    node: Node
    inputs: tuple[Layout, ...]
    outputs: tuple[Layout, ...]


@dataclass(frozen=True)
class Plan:
    """The steps to run, in order, and the layouts of the graph's inputs and outputs."""

    graph: Graph
    steps: tuple[Step | LayoutConversion, ...]
    inputs: dict[int, Layout]
    outputs: dict[int, Layout]

    @property
    def transposes(self) -> int:
        """The number of steps that move bytes only to change a layout."""
        return sum(
            1 for step in self.steps if isinstance(step, LayoutConversion) and step.moves_bytes
        )

    def node_steps(self) -> Iterator[Step]:
        return (step for step in self.steps if isinstance(step, Step))


def plan(graph: Graph, data_format: str = "channels_last") -> Plan:
    """Assign a layout to every value; convert where a layer does not accept it."""
    steps: list[Step | LayoutConversion] = []
    laid: dict[int, Layout] = {}
    available: set[tuple[int, Layout]] = set()

    def provide(value: Value, layout: Layout) -> None:
        if (value.id, layout) not in available:
            steps.append(LayoutConversion(value, laid[value.id], layout))
            available.add((value.id, layout))

    inputs = {v.id: image_layout(v.type.rank, data_format) for v in leaves(graph.inputs)}
    for identity, layout in inputs.items():
        laid[identity] = layout
        available.add((identity, layout))

    for node in graph.nodes:
        types = tuple(value.type for value in node.inputs)
        current = tuple(laid[value.id] for value in node.inputs)
        results = tuple(value.type for value in node.outputs)
        with attribute_errors(type(node.op), node.path, node.typename):
            input_layouts, output_layouts = node.op.layouts(current, types, results)
        for value, layout in zip(node.inputs, input_layouts, strict=True):
            provide(value, layout)
        steps.append(Step(node, input_layouts, output_layouts))
        for value, layout in zip(node.outputs, output_layouts, strict=True):
            laid[value.id] = layout
            available.add((value.id, layout))

    outputs = {v.id: image_layout(v.type.rank, data_format) for v in leaves(graph.outputs)}
    for value in leaves(graph.outputs):
        provide(value, outputs[value.id])
    return Plan(graph, tuple(steps), inputs, outputs)


def uniform_plan(graph: Graph, layout: Callable[[Value], Layout]) -> Plan:
    """The nodes in the layouts that `layout` returns, without conversions."""

    def layouts(values: Iterable[Value]) -> tuple[Layout, ...]:
        return tuple(map(layout, values))

    steps = [Step(node, layouts(node.inputs), layouts(node.outputs)) for node in graph.nodes]
    inputs = {value.id: layout(value) for value in leaves(graph.inputs)}
    outputs = {value.id: layout(value) for value in leaves(graph.outputs)}
    return Plan(graph, tuple(steps), inputs, outputs)


def plan_in_torch_order(graph: Graph) -> Plan:
    """The nodes as Torch runs them."""
    return uniform_plan(graph, lambda value: torch_order(value.type.rank))


class NotDynamic(WalkError):
    """A layer cannot be emitted for sizes that are only known when the graph runs."""


@dataclass(frozen=True)
class OpContext:
    """The context of a layer call: the types and layouts of its tensors, and its variables."""

    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    layouts: tuple[Layout, ...]
    output_layouts: tuple[Layout, ...]
    make_variable: Callable[[Param, tuple[Any, ...]], Any]
    dtype: Any
    inner: Callable[[Step], OpContext]
    """The context of a step of a sub-graph, whose variables are named by its own Torch path."""
    training: bool = False
    """Whether this call trains: then `LayerMap.train` is called in place of `apply`."""

    def axis(self, torch_axis: int, of: int = 0) -> int:
        """Where axis `torch_axis` (0-based, Torch's order) of input `of` is stored."""
        return self.layouts[of].axis(torch_axis)

    def variable(self, param: Param, rows: tuple[int, ...] | None = None) -> Any:
        """The parameter as a TensorFlow variable, its axes in the order `param.to`.

        `rows` reorders the first axis: `rows[i]` is the Torch row stored at i.
        """
        return self.make_variable(param, rows or ())

    def update(self, param: Param, value: Any, rows: tuple[int, ...] | None = None) -> None:
        """Assign `value` to the parameter's variable: for running statistics, in `train`."""
        self.variable(param, rows).assign(value)

    def reshape(self, tf: Any, x: Any) -> Any:
        """`x` in the output's shape, of which some sizes may be known only when the graph runs.

        Raises NotDynamic if more sizes than the batch and one other are unknown; the model is then
        emitted for one fixed size.
        """
        target: list[Any] = list(self.outputs[0].shape)
        unknown = [axis for axis, extent in enumerate(target) if extent is None]
        if len(unknown) > 1 and unknown[0] == 0 and self.inputs[0].shape[0] is None:
            target[0] = size(tf, x, 0)
            unknown = unknown[1:]
        if len(unknown) > 1:
            raise NotDynamic(f"a reshape to {self.outputs[0]} has more than one free size")
        if unknown:
            target[unknown[0]] = -1
        return tf.reshape(x, target)

    @property
    def flat_rows(self) -> tuple[int, ...] | None:
        """Order of the first input's features if they were flattened channels-last."""
        flat = self.layouts[0].flat
        return None if flat is None else flat_order(flat)


def size(tf: Any, x: Any, axis: int) -> Any:
    """The size of a stored axis: an int where it is fixed, a scalar tensor where it is not."""
    fixed = x.shape[axis]
    return tf.shape(x)[axis] if fixed is None else int(fixed)
