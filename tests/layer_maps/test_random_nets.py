"""Random small nets: any mixture of branches, tables, in-place layers and flattening.

Torch's semantics are spelled out once more in `torch_forward`, with NumPy arrays as Torch's memory:
containers call, tables are lists, views share, and in-place layers overwrite.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.emit.port import build_widest
from porter.frontend.inputs import types_of
from porter.ir import graph as graphs
from porter.ir.layout import Layout, plan, torch_order
from porter.ir.nested import Nested, leaves
from porter.ir.options import Options
from porter.ir.registry import is_layer_map
from porter.layer_maps import default_registry
from porter.parity import compare as parity
from porter.parity.measure import compare
from porter.runtime import reference, runner
from porter.torch7 import TorchObject
from tests.build import (
    Array,
    concat_table,
    container,
    conv,
    identity,
    linear,
    model,
    randn,
    relu,
    sequential,
    torch_module,
    view,
)

PLANES = (2, 3, 4)
SIDES = (6, 8)
NETS_PER_RUN = 40


def pool(kind: str) -> TorchObject:
    sizes = {"kW": 3, "kH": 3, "dW": 1, "dH": 1, "padW": 1, "padH": 1}
    return torch_module(f"nn.Spatial{kind}Pooling", **sizes, divide=True, count_include_pad=True)


def normalisation(planes: int, seed: int) -> TorchObject:
    return torch_module(
        "nn.SpatialBatchNormalization",
        running_mean=randn(planes, seed=seed),
        running_var=np.abs(randn(planes, seed=seed + 1)) + 1,
        train=False,
    )


def add(inplace: bool) -> TorchObject:
    return torch_module("nn.CAddTable", inplace=inplace)


@st.composite
def layers(draw: Any, planes: int) -> TorchObject:
    """One layer that leaves the shape of an image as it is."""
    seed = draw(st.integers(0, 9))
    return draw(
        st.sampled_from(
            [
                conv(planes, planes, pad=1, seed=seed),
                conv(planes, planes, kernel=1, seed=seed),
                relu(),
                relu(inplace=True),
                identity(),
                pool("Max"),
                pool("Average"),
                normalisation(planes, seed),
            ]
        )
    )


@st.composite
def blocks(draw: Any, planes: int, depth: int) -> TorchObject:
    """A net from an image to one of the same shape."""
    kind = draw(st.sampled_from(["layer", "chain", "sum", "concat", "join"]))
    if depth == 0 or kind == "layer":
        return draw(layers(planes))
    parts = draw(st.lists(blocks(planes, depth - 1), min_size=1, max_size=3))
    if kind == "chain":
        return sequential(*parts)
    if kind == "sum":
        return sequential(concat_table(*parts), add(inplace=draw(st.booleans())))
    fewer = conv(planes * len(parts), planes, kernel=1, seed=len(parts))
    if kind == "concat":
        return sequential(container("nn.Concat", *parts, dimension=2), fewer)
    dimension, sample = draw(st.sampled_from([(2, None), (1, 3), (-3, 3)]))
    join = torch_module("nn.JoinTable", dimension=dimension, nInputDims=sample)
    return sequential(concat_table(*parts), join, fewer)


@st.composite
def images_to_images(draw: Any) -> tuple[TorchObject, Array]:
    """A net without any fixed-size layer, and an input."""
    planes, height, width = (draw(st.sampled_from(each)) for each in (PLANES, SIDES, SIDES))
    batch, seed = draw(st.integers(1, 3)), draw(st.integers(0, 99))
    net = sequential(conv(3, planes, seed=seed), draw(blocks(planes, depth=2)))
    return net, randn(batch, 3, height, width, seed=seed)


@st.composite
def classifiers(draw: Any) -> tuple[TorchObject, Array]:
    """A net that flattens its images, perhaps by several ways, and joins what it makes of them."""
    net, x = draw(images_to_images())
    planes = net.list("modules")[0].integer("nOutputPlane")
    features = planes * (x.shape[2] - 2) * (x.shape[3] - 2)
    heads = [
        sequential(view(features, sample_rank=3), linear(features, 3, seed=seed))
        for seed in range(draw(st.integers(1, 3)))
    ]
    last = draw(st.sampled_from(["nn.LogSoftMax", "nn.Tanh", "nn.Identity"]))
    joined = container("nn.Concat", *heads, dimension=2)
    return sequential(net, joined, torch_module(last)), x


def torch_forward(module: TorchObject, x: Any) -> Any:
    """The module as Torch runs it, with arrays as memory."""
    children = list(module.list("modules")) if "modules" in module else []
    match module.typename:
        case "nn.Sequential":
            for child in children:
                x = torch_forward(child, x)
            return x
        case "nn.ConcatTable":
            return [torch_forward(child, x) for child in children]
        case "nn.Concat":
            outputs = [torch_forward(child, x) for child in children]
            return np.concatenate(outputs, axis=module.integer("dimension") - 1)
        case "nn.JoinTable":
            return np.concatenate(x, axis=1)
        case "nn.CAddTable":
            total = x[0] if module.boolean("inplace") else x[0].copy()
            for other in x[1:]:
                total += other
            return total
        case "nn.ReLU":
            return np.maximum(x, 0, out=x if module.boolean("inplace") else None)
        case "nn.Identity":
            return x
        case "nn.View":
            return x.reshape(-1, *np.asarray(module.get("size").array))
    handler = default_registry()[module.typename]
    assert is_layer_map(handler)
    return np.ascontiguousarray(handler.from_torch(module, Options()).reference(x))


NETS = st.one_of(images_to_images(), classifiers())
often = settings(max_examples=NETS_PER_RUN * settings().max_examples)


def exact(net: TorchObject, x: Array) -> tuple[graphs.Graph, Array]:
    graph = model(net).walk(types_of(x))
    values = reference.run(graph, parity.bind(graph.inputs, x))
    (output,) = leaves(graph.outputs)
    return graph, values[output.id]


@often
@given(NETS)
def test_the_graph_means_what_torch_does(net_and_input: tuple[TorchObject, Array]) -> None:
    net, x = net_and_input
    graph, output = exact(net, x)
    graphs.verify(graph)
    expected = torch_forward(net, x.astype(np.float64))
    assert compare(expected, output).within(1e-12)


def planned(net: TorchObject, x: Array, data_format: str) -> Nested[Array]:
    """The net's output by TensorFlow in float64, as it is laid out."""
    graph = model(net).walk(types_of(x))
    layout, variables = plan(graph, data_format), runner.Variables("float64")
    (input,), (output,) = leaves(graph.inputs), leaves(graph.outputs)
    stored = {input.id: runner.store(x, input, layout.inputs[input.id], "float64")}
    outputs = runner.run(layout, stored, variables)
    return runner.load(outputs[output.id], layout.outputs[output.id])


@often
@given(NETS, st.sampled_from(["channels_last", "channels_first"]))
def test_a_planned_net_equals_the_reference(
    net_and_input: tuple[TorchObject, Array], data_format: str
) -> None:
    net, x = net_and_input
    _, expected = exact(net, x)
    assert compare(expected, planned(net, x, data_format)).within(1e-10)


@often
@given(NETS)
def test_images_are_never_transposed(net_and_input: tuple[TorchObject, Array]) -> None:
    net, x = net_and_input
    assert plan(model(net).walk(types_of(x))).transposes == 0


@given(images_to_images())
def test_an_image_net_has_open_sizes_and_equals_the_reference_at_others(
    net_and_input: tuple[TorchObject, Array],
) -> None:
    net, x = net_and_input
    port = build_widest(model(net), types_of(x), runner.Variables())
    (opened,) = leaves(port.graph.inputs)
    assert opened.type.shape == (None, 3, None, None)
    larger = randn(x.shape[0] + 1, 3, x.shape[2] + 3, x.shape[3] + 1)
    _, expected = exact(net, larger)
    (array,) = port.module.serve(np.moveaxis(larger, 1, -1)).values()
    (output,) = leaves(port.graph.outputs)
    layout: Layout = port.plan.outputs[output.id]
    assert layout != torch_order(4)
    assert compare(expected, runner.load(array, layout)).within(1e-5)
