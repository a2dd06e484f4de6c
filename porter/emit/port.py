"""A plan as a tf.Module with a signature, from which every TensorFlow format is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypedDict

from porter.emit.settings import UNOPTIMIZED, ExportOptions
from porter.emit.training import Trainable
from porter.frontend.dynamic import widest
from porter.frontend.index_inputs import IndexRange, index_ranges
from porter.frontend.least_sizes import LeastSizes, least_sizes
from porter.frontend.walker import Model
from porter.ir.graph import FLOAT, Graph, TensorType, Value
from porter.ir.layout import Layout, Plan, image_layout, plan
from porter.ir.nested import Nested, map_leaves, named_leaves
from porter.passes import optimize
from porter.passes.per_sample import one_sample, sample_by_sample
from porter.passes.precision import FULL, reduce_precision
from porter.passes.small_inputs import unless_small
from porter.runtime.runner import ServedVariables, Variables, run, signature
from porter.system.tensorflow import tf

Guard = Callable[[Any, Layout, Mapping[int, int], str], Any]
"""Called as `at_least` is: the tensor, if it is large enough."""


@dataclass(frozen=True)
class Port:
    """A traced model: `module` holds the variables, `serve` maps named inputs to named outputs.

    `activations` gives every layer's output by Torch path.
    """

    module: Any
    plan: Plan
    variables: Variables
    serve: Any
    activations: Any
    options: ExportOptions = UNOPTIMIZED
    least: LeastSizes = field(default_factory=dict)
    """The smallest images that `serve` runs; smaller ones are an error, as in Torch."""
    rewritten: bool = False
    """Whether `serve` computes otherwise than by the layers as they are."""
    plain: Any = None
    """The same outputs of the layers as they are, traced when it is first asked for."""

    @property
    def graph(self) -> Graph:
        return self.plan.graph


def at_least(tensor: Any, layout: Layout, least: Mapping[int, int], name: str) -> Any:
    """The tensor, once it is sure that no axis (Torch's) is shorter than `least` says."""
    checks = [
        tf.debugging.assert_greater_equal(
            tf.shape(tensor)[layout.axis(axis)],
            extent,
            message=f"{name} is too small for this net: dimension {axis + 1} (in Torch's order) "
            f"must be at least {extent}",
        )
        for axis, extent in least.items()
    ]
    if not checks:
        return tensor
    with tf.control_dependencies(checks):
        return tf.identity(tensor)


def in_range(tensor: Any, allowed: IndexRange | None, name: str) -> Any:
    """The tensor, once it is sure that all its indices are those of rows that there are.

    A GPU would pick zeros without a word. Torch cuts fractions of indices off.
    """
    if allowed is None or allowed.least is None:
        return tensor
    reader = f"{allowed.reader.path or 'the root'} ({allowed.reader.typename})"
    message = (
        f"{name} holds an index outside of {allowed.least} to {allowed.largest}, which is what "
        f"{reader} takes: indices count from {allowed.least}, as in Torch"
    )
    checks = [
        tf.debugging.assert_greater_equal(
            tensor, tf.constant(allowed.least, tensor.dtype), message=message
        ),
        tf.debugging.assert_less(
            tensor, tf.constant(allowed.largest + 1, tensor.dtype), message=message
        ),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(tensor)


def of_its_shape(function: Any, sizes: bool = True) -> Any:
    """The traced function, which refuses tensors of another rank; `sizes`: of other sizes too.

    A SavedModel's signature takes them, and kernels may end the process over them.
    """
    specs = function.structured_input_signature[0]

    def serve(*tensors: Any) -> Any:
        shapes = (spec.shape if sizes else [None] * spec.shape.rank for spec in specs)
        return function(*map(tf.ensure_shape, tensors, shapes))

    return tf.function(serve, input_signature=specs, autograph=False).get_concrete_function()


def as_saved(port: Port) -> Any:
    """The module with its traced function alone, if there is nothing to train.

    TensorFlow traces every tf.function of a module once more to save it.
    """
    if port.options.trainable:
        return port.module
    saved: Any = tf.Module(name=port.module.name)
    saved.weights, saved.__call__ = port.module.weights, port.module.__call__
    return saved


def build(
    graph: Graph,
    variables: Variables,
    options: ExportOptions = UNOPTIMIZED,
    *,
    dialect: Any = tf,
    least: LeastSizes | None = None,
    guard: Guard = at_least,
) -> Port:
    """Trace a graph. Raises NotDynamic if a layer needs a size that the graph leaves open.

    `dialect` stands in for TensorFlow where layers are applied. The module of a trainable port
    is a `Trainable`. The options' optimisations and precision apply to `serve` alone;
    `activations` runs the layers as they are. Both refuse images smaller than `least`, by `guard`.
    """
    least = {} if least is None else least
    data_format, precision = options.data_format, options.precision
    layout = plan(graph, data_format)
    inputs = named_leaves(graph.inputs, "input")
    outputs = named_leaves(graph.outputs, "output")
    specs = [
        signature(name, value, layout.inputs[value.id], variables.precision)
        for name, value in inputs
    ]

    ranges = index_ranges(graph) if dialect is tf else {}

    def guarded(tensors: tuple[Any, ...]) -> tuple[Any, ...]:
        large = (
            guard(tensor, layout.inputs[value.id], least.get(position, {}), name)
            for position, ((name, value), tensor) in enumerate(zip(inputs, tensors, strict=True))
        )
        return tuple(
            in_range(tensor, ranges.get(value.id), name)
            for (name, value), tensor in zip(inputs, large, strict=True)
        )

    def feed(tensors: tuple[Any, ...]) -> dict[int, Any]:
        return {value.id: t for (_, value), t in zip(inputs, tensors, strict=True)}

    served = optimize(graph, options.level)
    single = one_sample(served)
    own = {id(node.op) for node in graph.nodes}
    replaced = any(id(node.op) not in own for node in served.nodes)
    rewritten = replaced or single is not None or precision != FULL
    steps = plan(reduce_precision(single or served, precision), data_format)

    def compute(*tensors: Any) -> dict[str, Any]:
        results = run(steps, feed(tensors), variables, dialect=dialect)
        named = named_leaves(steps.graph.outputs, "output")
        return {name: widened(results[value.id]) for name, value in named}

    def widened(tensor: Any) -> Any:
        reduced = tensor.dtype.name == precision != FULL
        return tf.cast(tensor, FULL) if reduced else tensor

    def one_by_one(*tensors: Any) -> dict[str, Any]:
        return sample_by_sample(tf, compute, tensors, [name for name, _ in outputs])

    def as_layers(*tensors: Any) -> dict[str, Any]:
        by_path = module.activations(*tensors)
        by_id = feed(tensors) | {value.id: by_path[path] for path, value in names.items()}
        return {name: by_id[value.id] for name, value in outputs}

    def serve(*tensors: Any) -> dict[str, Any]:
        tensors = guarded(tensors)
        if single is None:
            outputs = compute(*tensors)
        elif precision != FULL:
            outputs = one_by_one(*tensors)
        else:
            order = layout.inputs[inputs[0][1].id]
            branches = (partial(as_layers, *tensors), partial(one_by_one, *tensors))
            outputs = unless_small(tf, tensors[0], order, *branches)
        return {name: tf.identity(tensor, name=name) for name, tensor in outputs.items()}

    module: Any = tf.Module(name="port")
    if options.trainable:
        module = Trainable(graph, variables, data_format)

    def call(*tensors: Any) -> Nested[Any]:
        named = iter(concrete(*tensors).values())
        return map_leaves(lambda _: next(named), graph.outputs)

    watched = plan(watching(graph), data_format)
    names = activation_names(graph)

    def activations(*tensors: Any) -> dict[str, Any]:
        results = run(watched, feed(guarded(tensors)), variables, dialect=dialect)
        return {name: results[value.id] for name, value in names.items()}

    def plain(*tensors: Any) -> dict[str, Any]:
        by_layer = as_layers(*tensors)
        return {name: tf.identity(tensor, name=name) for name, tensor in by_layer.items()}

    def traced(function: Any) -> Any:
        return tf.function(function, input_signature=specs, autograph=False)

    module.serve, module.activations = traced(serve), traced(activations)
    if not options.trainable:
        module.__call__ = traced(call)
    if options.level != "none" or precision != FULL:
        # Only the layers as they are read every variable, each by its own path.
        module.activations.get_concrete_function()
    concrete = module.serve.get_concrete_function()
    module.weights = variables.read()
    return Port(
        module,
        layout,
        variables.base,
        concrete,
        module.activations,
        options,
        least,
        rewritten,
        traced(plain) if rewritten else module.serve,
    )


def build_widest(
    model: Model,
    types: Nested[TensorType],
    variables: Variables,
    options: ExportOptions = UNOPTIMIZED,
) -> Port:
    """Trace a model with as many free sizes as its layers allow.

    Without `trainable` its small parameters are constants.
    """
    read = variables if options.trainable else ServedVariables(variables)
    return widest(
        model,
        types,
        lambda graph: build(graph, read, options, least=least_sizes(model, types, graph)),
    )


def activation_names(graph: Graph) -> dict[str, Value]:
    """Every tensor that a call returned, by Torch path (`path#2` for the second call)."""
    names: dict[str, Value] = {}
    produced = {value.id for node in graph.nodes for value in node.outputs}
    for call in graph.calls:
        base = call.path or "root"
        base = base if call.count == 1 else f"{base}#{call.count}"
        for name, value in named_leaves(call.output, base):
            if value.id in produced:
                names[name] = value
    return names


def watching(graph: Graph) -> Graph:
    """The graph with every call's output as an output."""
    watched = {value.id: value for value in activation_names(graph).values()}
    return Graph(graph.inputs, graph.nodes, list(watched.values()), graph.calls, graph.notes)


class TensorSignature(TypedDict):
    """An input or output of the exported function; None is a size that is free."""

    shape: list[int | None]
    """As TensorFlow stores it: N×H×W×C for images, unless the port is channels_first."""
    torch_shape: list[int | None]
    torch_axes: list[int]
    """Torch's axis of each stored axis."""
    dtype: str


def stored_shapes(graph: Graph, data_format: str) -> dict[str, TensorSignature]:
    """Name, shape as stored and order of axes of every input and output, for the manifest."""
    described: dict[str, TensorSignature] = {}
    for name, value in [
        *named_leaves(graph.inputs, "input"),
        *named_leaves(graph.outputs, "output"),
    ]:
        layout = image_layout(value.type.rank, data_format)
        described[name] = {
            "shape": [value.type.shape[axis] for axis in layout.order],
            "torch_shape": list(value.type.shape),
            "torch_axes": list(layout.order),
            "dtype": "float32" if value.dtype == FLOAT else value.dtype,
        }
    return described
