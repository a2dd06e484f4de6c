"""What is served is rewritten for speed, and computes what the layers compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from porter.emit.port import Port, build, build_widest
from porter.emit.settings import ExportOptions
from porter.frontend.inputs import types_of
from porter.ir.graph import Graph
from porter.ir.layout import plan
from porter.passes import LEVELS, optimize
from porter.passes.affine import FixedNormalization
from porter.passes.borders import GatheredBorder, JoinedBorder, join_borders
from porter.passes.normalization import FusedNormalization
from porter.passes.per_sample import one_sample
from porter.passes.subpixel_conv import SubpixelConvolution
from porter.passes.winograd_regions import WinogradRegion
from porter.runtime.runner import Variables, apply_step
from porter.system.tensorflow import tf
from porter.torch7 import TorchObject
from tests.build import (
    Array,
    batch_norm,
    concat_table,
    conv,
    identity,
    model,
    randn,
    relu,
    run,
    sequential,
    torch_module,
)


def border(pad: int, kind: str = "Replication") -> TorchObject:
    edges = dict.fromkeys(("pad_l", "pad_r", "pad_t", "pad_b"), pad)
    return torch_module(f"nn.Spatial{kind}Padding", **edges)


def instance_norm(planes: int, seed: int = 0) -> TorchObject:
    random = np.random.default_rng(seed)
    learned = {n: random.standard_normal(planes).astype(np.float32) for n in ("weight", "bias")}
    return torch_module("nn.InstanceNormalization", nOutput=planes, eps=1e-5, **learned)


def full_conv(planes: int, outputs: int, seed: int = 0) -> TorchObject:
    """Doubles the image."""
    random = np.random.default_rng(seed)
    return torch_module(
        "nn.SpatialFullConvolution",
        nInputPlane=planes,
        nOutputPlane=outputs,
        **dict.fromkeys(("kW", "kH"), 3),
        **dict.fromkeys(("dW", "dH"), 2),
        **dict.fromkeys(("padW", "padH", "adjW", "adjH"), 1),
        weight=random.standard_normal((planes, outputs, 3, 3)).astype(np.float32),
        bias=random.standard_normal(outputs).astype(np.float32),
    )


def residual(planes: int) -> TorchObject:
    inside = sequential(
        border(1), conv(planes, planes, seed=4), instance_norm(planes, 4), relu(inplace=True)
    )
    return sequential(concat_table(identity(), inside), torch_module("nn.CAddTable"))


def style_net(planes: int = 8) -> TorchObject:
    """texture_nets' generator with one residual block."""
    return sequential(
        border(4),
        conv(3, planes, kernel=9, seed=1),
        instance_norm(planes, 1),
        relu(inplace=True),
        border(1, "Reflection"),
        conv(planes, planes, stride=2, seed=2),
        instance_norm(planes, 2),
        residual(planes),
        full_conv(planes, planes, seed=3),
        instance_norm(planes, 3),
        relu(inplace=True),
        border(1),
        conv(planes, 3, seed=5),
    )


def port_of(net: TorchObject, x: Array, level: str) -> Port:
    return build_widest(model(net), types_of(x), Variables(), ExportOptions(optimized=level))


def served(port: Port, x: Array) -> Array:
    """The output in Torch's order."""
    output = port.module.__call__(tf.constant(np.moveaxis(x, 1, -1)))
    return np.moveaxis(output.numpy(), -1, 1)


def error(output: Array, net: TorchObject, x: Array) -> float:
    """Largest difference from the NumPy reference in float64, in deviations of the output."""
    expected: Any = run(net, x)
    assert output.shape == expected.shape
    return float(abs(output - expected).max() / expected.std())


def kinds(port: Port, level: str) -> list[type]:
    return [type(node.op) for node in optimize(port.graph, level).nodes]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("shape", [(1, 3, 16, 20), (3, 3, 18, 22), (2, 3, 33, 17)])
def test_a_style_net_is_what_its_layers_are(level: str, shape: tuple[int, ...]) -> None:
    x, net = randn(*shape), style_net()
    assert error(served(port_of(net, randn(2, 3, 24, 28), level), x), net, x) < 2e-5


def test_what_is_rewritten() -> None:
    found = kinds(port_of(style_net(), randn(2, 3, 24, 28), "none"), "exact")
    assert found.count(FusedNormalization) == 4
    assert found.count(GatheredBorder) == 4
    assert found.count(SubpixelConvolution) == 1


def test_a_bias_before_a_normalisation_is_not_added() -> None:
    port = port_of(style_net(), randn(2, 3, 24, 28), "exact")
    rewritten = optimize(port.graph, "exact").nodes
    added = {f"{node.path}.bias" for node in rewritten if "bias" in node.op.params()}
    assert not {"2.bias", "6.bias", "9.bias"} & added
    assert "13.bias" in added
    assert {"2.bias", "6.bias", "9.bias", "13.bias"} <= port.variables.by_name.keys()


@pytest.mark.parametrize("between", [[], ["nn.Dropout"]], ids=["behind", "behind dropout"])
@pytest.mark.parametrize(
    ("activation", "fields"),
    [
        ("Tanh", {}),
        ("Sigmoid", {}),
        ("ELU", {"alpha": 1}),
        ("ReLU6", {}),
        ("LeakyReLU", {"negval": 0.2}),
        ("SoftPlus", {"beta": 1, "threshold": 20}),
        ("TanhShrink", {}),
    ],
)
def test_every_activation_behind_a_normalisation_runs(
    activation: str, fields: dict[str, Any], between: list[str]
) -> None:
    # TensorFlow fuses convolution, FusedBatchNormV3 and Tanh into a kernel that it does not have.
    dropped = [torch_module(name, p=0.5, v2=True) for name in between]
    behind = torch_module(f"nn.{activation}", **fields)
    x, net = randn(2, 3, 16, 20), sequential(conv(3, 4, pad=1), batch_norm(4), *dropped, behind)
    assert error(served(port_of(net, x, "exact"), x), net, x) < 2e-5


def test_a_bias_that_somebody_else_reads_too_stays() -> None:
    net = sequential(
        conv(3, 8, seed=1), concat_table(instance_norm(8), relu()), torch_module("nn.CAddTable")
    )
    x = randn(2, 3, 9, 8)
    assert error(served(port_of(net, x, "exact"), x), net, x) < 1e-5


@pytest.mark.parametrize("mode", [True, False])
def test_batch_normalisation_by_the_batch_and_by_kept_statistics(mode: bool) -> None:
    net = sequential(conv(3, 8, seed=1), batch_norm(8, train=mode), relu(inplace=True))
    x = randn(3, 3, 9, 8)
    port = port_of(net, x, "exact")
    assert error(served(port, x), net, x) < 1e-5
    assert kinds(port, "exact")[1] is (FusedNormalization if mode else FixedNormalization)


def test_statistics_of_planes_far_from_zero() -> None:
    """The mean is a hundred deviations: squares alone would lose four digits."""
    net, x = instance_norm(4), randn(2, 4, 64, 64) + 100
    assert error(served(port_of(net, x, "exact"), x), net, x) < 1e-3


@pytest.mark.parametrize("shape", [(1, 4, 16, 20), (2, 4, 9, 7)])
def test_planes_that_are_nearly_constant(shape: tuple[int, ...]) -> None:
    """The mean of squares has no digits left for the variance there."""
    x = (10 + 0.01 * randn(*shape)).astype(np.float32)
    net = sequential(instance_norm(4))
    assert error(served(port_of(net, x, "exact"), x), net, x) < 5e-4


def test_a_constant_plane_becomes_its_bias() -> None:
    net, x = instance_norm(4), np.full((1, 4, 31, 37), 123.4567, np.float32)
    bias = net.tensor("bias").array[:, None, None]
    assert abs(served(port_of(net, x, "exact"), x)[0] - bias).max() < 0.05


def gradients(graph: Graph, level: str, x: Array) -> dict[str, Array]:
    """Of the mean fourth power of the output, by input and variables."""
    port = build(graph, Variables(), ExportOptions(optimized=level))
    fed = tf.constant(np.moveaxis(x, 1, -1))
    with tf.GradientTape() as tape:
        tape.watch(fed)
        loss = tf.reduce_mean(port.module.__call__(fed) ** 4)
    sources = {"input": fed} | {variable.name: variable for variable in port.module.weights}
    found = tape.gradient(loss, sources)
    return {name: each.numpy() for name, each in found.items() if each is not None}


@pytest.mark.parametrize("batch", [1, 2])
def test_gradients_are_those_of_the_layers(batch: int) -> None:
    x, net = randn(batch, 3, 24, 28), style_net()
    graph = port_of(net, randn(2, 3, 24, 28), "none").graph
    plain, rewritten = (gradients(graph, level, x) for level in ("none", "exact"))
    assert {"2.weight:0", "13.bias:0"} <= plain.keys()
    # The bias before a normalisation changes nothing: its gradient is rounding alone.
    without = {"2.bias:0", "6.bias:0", "8.1.2.2.bias:0", "9.bias:0"}
    assert plain.keys() == rewritten.keys()
    for name, gradient in rewritten.items():
        if name in without:
            assert not gradient.any(), name
            continue
        assert abs(gradient - plain[name]).max() < 1e-4 * abs(plain[name]).max(), name


@pytest.mark.parametrize("kernel", [2, 3, 5])
@pytest.mark.parametrize("pad", [0, 1])
@pytest.mark.parametrize("extent", [(8, 9), (7, 12)])
def test_few_planes_in_blocks(kernel: int, pad: int, extent: tuple[int, int]) -> None:
    net, x = conv(8, 3, kernel=kernel, pad=pad), randn(2, 8, *extent)
    port = port_of(net, x, "exact")
    assert kinds(port, "exact") == [SubpixelConvolution]
    assert error(served(port, x), net, x) < 1e-5


@pytest.mark.parametrize("padded", ["border", "zeros", "none"])
@pytest.mark.parametrize("shape", [(1, 128, 37, 34), (2, 128, 36, 43)])
def test_winograd_with_borders_ragged_tiles_and_batches(
    padded: str, shape: tuple[int, ...]
) -> None:
    one = conv(128, 128, pad=int(padded == "zeros"))
    net = sequential(border(1, "Reflection"), one) if padded == "border" else one
    x = randn(*shape)
    port = port_of(net, x, "fast")
    assert kinds(port, "fast") == [WinogradRegion]
    assert error(served(port, x), net, x) < 3e-5


def test_small_pictures_and_few_planes_are_convolved_directly() -> None:
    net, x = conv(128, 128), randn(2, 128, 12, 12)
    operations = {op.type for op in port_of(net, x, "fast").serve.graph.get_operations()}
    assert {"Conv2D", "If"} & operations
    assert error(served(port_of(net, x, "fast"), x), net, x) < 1e-5
    assert WinogradRegion not in kinds(port_of(style_net(), randn(1, 3, 24, 28), "none"), "fast")


@pytest.mark.parametrize("kind", ["Replication", "Reflection"])
@pytest.mark.parametrize("pad", [1, 3, 6])
@pytest.mark.parametrize("free", [True, False])
def test_joined_borders(kind: str, pad: int, free: bool) -> None:
    net, x = sequential(border(pad, kind)), randn(2, 3, 9, 8)
    graph = join_borders(model(net).walk(types_of(x)))
    assert [type(node.op) for node in graph.nodes] == [JoinedBorder]
    (node,) = plan(graph).node_steps()
    sizes = [None, None, None, 3] if free else [2, 9, 8, 3]

    @tf.function(input_signature=[tf.TensorSpec(sizes)])
    def padded(image: Any) -> Any:
        return apply_step(node, [image], Variables())[0]

    output = np.moveaxis(padded(tf.constant(np.moveaxis(x, 1, -1))).numpy(), -1, 1)
    np.testing.assert_array_equal(output, run(net, x))


@pytest.mark.parametrize("kind", ["Replication", "Reflection"])
@pytest.mark.parametrize("edges", [(1, 1, 1, 1), (3, 3, 3, 3), (6, 6, 6, 6), (0, 2, 1, 0)])
def test_the_gradient_of_joined_borders(kind: str, edges: tuple[int, ...]) -> None:
    pads = dict(zip(("pad_l", "pad_r", "pad_t", "pad_b"), edges, strict=True))
    net, x = sequential(torch_module(f"nn.Spatial{kind}Padding", **pads)), randn(2, 3, 9, 8)
    walked = model(net).walk(types_of(x))
    image, found = tf.constant(np.moveaxis(x, 1, -1)), []
    for graph in (walked, join_borders(walked)):
        (node,) = plan(graph).node_steps()
        with tf.GradientTape() as tape:
            tape.watch(image)
            output = apply_step(node, [image], Variables(learning=True), training=True)[0]
            weights = np.moveaxis(randn(*np.moveaxis(output, -1, 1).shape), 1, -1)
            loss = tf.reduce_sum(weights * output)
        found.append((output.numpy(), tape.gradient(loss, image).numpy()))
    (outputs, gradient), (joined, of_joined) = found
    np.testing.assert_array_equal(joined, outputs)
    np.testing.assert_allclose(of_joined, gradient, rtol=1e-5, atol=1e-6)


def wide(net: TorchObject, *shape: int) -> float:
    """The error of a net of 128 planes, optimised for images as large as wanted."""
    x = randn(*shape)
    return error(served(port_of(net, x, "fast"), x), net, x)


def add() -> TorchObject:
    return torch_module("nn.CAddTable")


@pytest.mark.parametrize("shape", [(1, 128, 36, 40), (1, 128, 37, 43), (2, 128, 34, 36)])
def test_residual_blocks_stay_in_tiles(shape: tuple[int, ...]) -> None:
    net = sequential(residual(128), residual(128))
    assert wide(net, *shape) < 3e-5
    (group,) = optimize(port_of(net, randn(*shape), "none").graph, "fast").nodes
    assert isinstance(group.op, WinogradRegion)
    assert len(group.op.nodes) == 8  # with its border a convolution is one
    assert group.origin == tuple(path for node in group.op.nodes for path in node.origin)


@pytest.mark.parametrize("shape", [(1, 128, 37, 34), (3, 128, 36, 40)])
def test_zeros_around_what_is_in_tiles(shape: tuple[int, ...]) -> None:
    one, two = (conv(128, 128, pad=1, seed=seed) for seed in (1, 2))
    net = sequential(one, relu(), two, batch_norm(128), relu())
    assert wide(net, *shape) < 2 * 3e-5  # of two convolutions


def test_several_readers_of_what_is_in_tiles() -> None:
    """A convolution, and two layers that compute pixel by pixel."""
    inside = sequential(
        conv(128, 128, pad=1, seed=1),
        concat_table(
            sequential(relu(), conv(128, 128, pad=1, seed=2)),
            torch_module("nn.Sigmoid"),
            identity(),
        ),
    )
    assert wide(sequential(inside, add()), 1, 128, 36, 38) < 3e-5


def test_a_group_that_needs_what_it_makes_is_two() -> None:
    """One branch leaves the tiles and comes back: it must be done between two groups."""
    pooling = torch_module(
        "nn.SpatialMaxPooling", kW=3, kH=3, dW=1, dH=1, padW=1, padH=1, ceil_mode=False
    )
    away = sequential(pooling, conv(128, 128, pad=1, seed=3))
    net = sequential(
        conv(128, 128, pad=1, seed=1), concat_table(relu(), away), add(), conv(128, 128, seed=4)
    )
    x = randn(1, 128, 36, 38)
    found = optimize(port_of(net, x, "none").graph, "fast").nodes
    assert [type(node.op) for node in found].count(WinogradRegion) >= 2
    assert wide(net, *x.shape) < 3e-5


def test_a_factor_for_each_pixel_is_no_business_of_tiles() -> None:
    factors = randn(1, 128, 36, 36)
    net = sequential(conv(128, 128, pad=1, seed=1), torch_module("nn.CMul", weight=factors), relu())
    assert wide(net, 2, 128, 36, 36) < 3e-5


def join(dimension: int) -> TorchObject:
    both = concat_table(identity(), identity())
    return sequential(both, torch_module("nn.JoinTable", dimension=dimension))


@pytest.mark.parametrize(
    ("layer", "single"),
    [
        (torch_module("nn.ShaveImage", size=2), True),
        (torch_module("nn.SpatialUpSamplingNearest", scale_factor=2), True),
        (join(2), True),
        (join(1), False),
    ],
    ids=["ShaveImage", "UpSampling", "planes joined", "samples joined"],
)
def test_layers_that_samples_go_through_one_by_one(layer: TorchObject, single: bool) -> None:
    net = sequential(conv(3, 8, seed=1), instance_norm(8), layer)
    x = randn(2, 3, 12, 14)
    port = port_of(net, x, "exact")
    assert (one_sample(optimize(port.graph, "exact")) is not None) is single
    assert error(served(port, x), net, x) < 1e-5
