"""Fewer layers, the same function: every value that is left is what it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.frontend.inputs import types_of
from porter.frontend.model_file import open_model
from porter.ir.capabilities import Skippable
from porter.ir.graph import Graph, Node
from porter.ir.nested import Nested, leaves
from porter.layer_maps import default_registry
from porter.parity import compare as parity
from porter.parity.measure import relative_error
from porter.parity.recording import read as read_recording
from porter.passes.fold import fuse
from porter.runtime import reference
from porter.torch7 import TorchObject
from tests.build import (
    FIXTURES,
    Array,
    batch_norm,
    concat_table,
    container,
    conv,
    dropout,
    linear,
    model,
    randn,
    relu,
    sequential,
    torch_module,
    view,
)

NETS = [*sorted(FIXTURES.glob("nets/*/model.t7")), FIXTURES / "trained/digits_lenet/model.t7"]


def full_conv(planes: int, outputs: int, seed: int) -> TorchObject:
    """nn.SpatialFullConvolution without a bias."""
    weight = np.random.default_rng(seed).standard_normal((planes, outputs, 3, 3))
    return torch_module(
        "nn.SpatialFullConvolution",
        nInputPlane=planes,
        nOutputPlane=outputs,
        **dict.fromkeys(("kW", "kH"), 3),
        **dict.fromkeys(("dW", "dH"), 2),
        weight=weight.astype(np.float32),
    )


def values(graph: Graph, x: Nested[Array]) -> dict[int, Array]:
    """Every value in float64."""
    return reference.run(graph, parity.bind(graph.inputs, x))


def require_equal(graph: Graph, fused: Graph, x: Nested[Array]) -> None:
    """Assert that outputs, and all values that are left, are equal to rounding in float64."""
    before, after = values(graph, x), values(fused, x)
    for first, second in zip(leaves(graph.outputs), leaves(fused.outputs), strict=True):
        assert relative_error(before[first.id], after[second.id]) <= 1e-12
    for identity, array in after.items():
        assert relative_error(before[identity], array) <= 1e-12


def fused_and_checked(root: TorchObject, x: Array) -> tuple[Graph, Graph]:
    graph = model(root).walk(types_of(x))
    fused = fuse(graph)
    require_equal(graph, fused, x)
    return graph, fused


def names(graph: Graph) -> list[str]:
    return [node.typename.removeprefix("nn.") for node in graph.nodes]


@st.composite
def nets(draw: st.DrawFn) -> TorchObject:
    """Convolutions of several kinds, each perhaps normalised, dropped out and rectified."""
    layers: list[TorchObject] = []
    planes = 2
    for seed in range(draw(st.integers(1, 4))):
        features = draw(st.integers(1, 4))
        maker = draw(st.sampled_from([lambda i, o, s: conv(i, o, pad=1, seed=s), full_conv]))
        layers.append(maker(planes, features, seed))
        planes = features
        for behind in draw(st.lists(st.sampled_from(["norm", "drop", "relu"]), max_size=3)):
            layers.append(
                {"norm": batch_norm(planes, seed), "drop": dropout(), "relu": relu()}[behind]
            )
    return sequential(*layers)


@settings(max_examples=40, deadline=None)
@given(nets())
def test_the_function_stays_the_same(net: TorchObject) -> None:
    graph, fused = fused_and_checked(net, randn(2, 2, 5, 4))
    assert "Dropout" not in names(fused)
    left = zip(names(fused), names(fused)[1:], strict=False)
    assert all(
        pair[1] != "SpatialBatchNormalization" or "Convolution" not in pair[0] for pair in left
    )
    paths = {path for node in fused.nodes for path in node.origin}
    dropped = {
        node.path
        for node in graph.nodes
        if isinstance(node.op, Skippable) and node.op.is_identity()
    }
    assert paths | dropped == {node.path for node in graph.nodes}


@pytest.mark.parametrize("path", NETS, ids=lambda path: path.parent.name)
def test_real_nets_stay_the_same(path: Path) -> None:
    recorded = read_recording(path.with_name("activations.t7")).input
    assert recorded is not None
    graph = open_model(path, default_registry()).model().walk(types_of(recorded))
    require_equal(graph, fuse(graph), recorded)


def test_a_classifier_loses_its_normalisations_and_dropouts() -> None:
    net = sequential(
        conv(3, 4, seed=1),
        batch_norm(4),
        relu(),
        view(4 * 2 * 2, sample_rank=3),
        dropout(),
        linear(16, 5),
        batch_norm(5, kind=""),
    )
    graph, fused = fused_and_checked(net, randn(2, 3, 4, 4))
    assert names(fused) == ["SpatialConvolution", "ReLU", "View", "Linear"]
    assert fused.nodes[0].origin == ("1", "2")
    (before,), (after,) = leaves(graph.outputs), leaves(fused.outputs)
    assert before.id == after.id


def unfolded(net: TorchObject, *shape: int) -> Node:
    """The last node of a net of which nothing may be folded."""
    graph, fused = fused_and_checked(net, randn(*shape))
    assert len(fused.nodes) == len(graph.nodes)
    return fused.nodes[-1]


def test_statistics_of_the_batch_are_not_folded() -> None:
    unfolded(sequential(conv(2, 3), batch_norm(3, train=True)), 2, 2, 4, 4)


def test_a_value_that_others_read_is_not_folded_away() -> None:
    branches = concat_table(batch_norm(3), torch_module("nn.Abs"))
    unfolded(sequential(conv(2, 3), branches, torch_module("nn.CAddTable")), 2, 2, 4, 4)


def test_an_output_of_the_model_is_not_folded_away() -> None:
    both = container("nn.ConcatTable", torch_module("nn.Identity"), batch_norm(3))
    unfolded(sequential(conv(2, 3), both), 2, 2, 4, 4)


def test_a_weight_that_is_only_a_sign_is_not_scaled() -> None:
    binary = conv(2, 3)
    binary.typename = "nn.SpatialBinaryConvolution"
    unfolded(sequential(binary, batch_norm(3)), 2, 2, 4, 4)


def test_planes_on_another_axis_are_not_folded() -> None:
    """C×T×H×W of one sample looks like N×C×H×W to the normalisation: its planes are T."""
    volume = torch_module(
        "nn.VolumetricConvolution",
        nInputPlane=2,
        nOutputPlane=3,
        **dict.fromkeys(("kT", "kW", "kH", "dT", "dW", "dH"), 1),
        weight=randn(3, 2, 1, 1, 1),
        bias=randn(3),
    )
    unfolded(sequential(volume, batch_norm(3)), 2, 3, 4, 4)


def test_numbers_that_are_none_are_not_folded() -> None:
    broken = batch_norm(3, running_var=np.array([1, -1, 1], np.float32))
    graph = model(sequential(conv(2, 3), broken)).walk(types_of(randn(2, 2, 4, 4)))
    assert len(fuse(graph).nodes) == 2


def test_a_model_of_nothing_but_dropout() -> None:
    _, fused = fused_and_checked(sequential(dropout(), dropout()), randn(2, 3))
    assert not fused.nodes
    assert list(leaves(fused.inputs)) == list(leaves(fused.outputs))


def test_one_convolution_before_two_normalisations_is_folded_with_each() -> None:
    """A shared module: its weight is scaled twice, differently."""
    shared = conv(2, 2, pad=1)
    net = sequential(shared, batch_norm(2, 1), shared, batch_norm(2, 2))
    _, fused = fused_and_checked(net, randn(2, 2, 4, 4))
    first, second = (node.op.params()["weight"] for node in fused.nodes)
    assert first.key != second.key
    assert not np.array_equal(first.array, second.array)
