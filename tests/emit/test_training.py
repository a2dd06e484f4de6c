"""What a port does in training: statistics, noise, what is learned and what is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from porter.emit.training import Trainable
from porter.frontend.dynamic import widest
from porter.frontend.inputs import types_of
from porter.runtime.runner import Variables
from porter.system.tensorflow import tf
from porter.torch7 import LuaFunction, TorchObject
from tests.build import (
    Array,
    batch_norm,
    conv,
    dropout,
    linear,
    model,
    parallel_table,
    randn,
    relu,
    run,
    sequential,
    torch_module,
    view,
)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    tf.random.set_seed(1)


def port(root: TorchObject, x: Any) -> Trainable:
    """A net with all sizes free that can be."""
    variables = Variables()
    return widest(model(root), types_of(x), lambda graph: Trainable(graph, variables))


def last(x: Array) -> Any:
    """N×C×H×W as it is fed."""
    return tf.constant(np.moveaxis(x, 1, -1), tf.float32)


def names(variables: list[Any]) -> list[str]:
    return [variable.name.removesuffix(":0") for variable in variables]


def value_of(net: Trainable, name: str) -> Array:
    """The numbers of a variable."""
    found: Array = net.variables[names(net.variables).index(name)].numpy()
    return found


# Batch normalisation ------------------------------------------------------------------------------


def test_running_statistics_move_in_training_only_and_by_torchs_momentum() -> None:
    x = randn(6, 3, 4, 5)
    norm = batch_norm(3, momentum=0.25)
    net = port(sequential(norm), x)
    mean, variance = value_of(net, "1.running_mean"), value_of(net, "1.running_var")
    net(last(x))
    assert np.array_equal(value_of(net, "1.running_mean"), mean)
    net(last(x), training=True)
    pixels = np.moveaxis(x, 1, 0).reshape(3, -1)
    expected = 0.75 * mean + 0.25 * pixels.mean(axis=1)
    assert np.allclose(value_of(net, "1.running_mean"), expected, atol=1e-6)
    # The running variance is unbiased, that of the output is not.
    expected = 0.75 * variance + 0.25 * pixels.var(axis=1, ddof=1)
    assert np.allclose(value_of(net, "1.running_var"), expected, atol=1e-6)


def test_training_normalises_with_the_batch_however_the_module_was_saved() -> None:
    x = randn(6, 3, 4, 5)
    for train in (False, True):
        norm = batch_norm(3, train=train, weight=np.ones(3), bias=np.zeros(3))
        output = port(norm, x)(last(x), training=True).numpy()
        assert np.allclose(output.mean(axis=(0, 1, 2)), 0, atol=1e-5)
        assert np.allclose(output.std(axis=(0, 1, 2)), 1, atol=1e-3)


def test_evaluation_uses_the_running_statistics() -> None:
    x = randn(64, 5)
    norm = batch_norm(5, kind="", momentum=1.0, weight=np.ones(5), bias=np.zeros(5))
    net = port(norm, x)
    net(tf.constant(x, tf.float32), training=True)
    output = net(tf.constant(x, tf.float32)).numpy()
    assert np.allclose(output.mean(axis=0), 0, atol=1e-5)


def test_running_statistics_are_not_learned() -> None:
    net = port(sequential(conv(3, 4), batch_norm(4)), randn(2, 3, 6, 6))
    assert names(net.trainable_variables) == ["1.weight", "1.bias", "2.weight", "2.bias"]
    assert {"2.running_mean", "2.running_var"} <= set(names(net.variables))


def test_a_batch_of_one_number_leaves_finite_statistics() -> None:
    x = randn(1, 5)
    net = port(batch_norm(5, kind="", momentum=0.1), x)
    net(tf.constant(x, tf.float32), training=True)
    assert np.isfinite(value_of(net, "running_var")).all()


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_instance_normalisation_trains_at_any_batch_size(batch: int) -> None:
    planes = {"nOutput": 4, "weight": np.ones(4), "bias": np.zeros(4), "eps": 1e-5}
    inner = torch_module("nn.InstanceNormalization", **planes)
    net = port(sequential(conv(3, 4), inner), randn(1, 3, 6, 6))
    x = last(randn(batch, 3, 8, 7))
    assert np.allclose(net(x, training=True), net(x), atol=1e-6)
    output = net(x, training=True).numpy()
    assert np.allclose(output.mean(axis=(1, 2)), 0, atol=1e-5)


# Noise --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("v2", "scale"), [(True, 1 / 0.75), (None, 1.0)])
def test_dropout_drops_and_scales_as_its_version_says(v2: bool | None, scale: float) -> None:
    x = np.ones((50, 40))
    net = port(torch_module("nn.Dropout", p=0.25, v2=v2), x)
    output = net(tf.constant(x, tf.float32), training=True).numpy()
    assert set(np.unique(output)) == {np.float32(0), np.float32(scale)}
    assert np.mean(output == 0) == pytest.approx(0.25, abs=0.03)
    again = net(tf.constant(x, tf.float32), training=True).numpy()
    assert not np.array_equal(output, again)
    evaluated = net(tf.constant(x, tf.float32)).numpy()
    assert np.allclose(evaluated, 1.0 if v2 else 0.75)


@pytest.mark.parametrize(
    ("typename", "shape", "planes"),
    [
        ("nn.SpatialDropout", (8, 6, 3, 4), (8, 6)),
        ("nn.SpatialDropout", (60, 3, 4), (60,)),
        ("nn.VolumetricDropout", (8, 6, 2, 3, 4), (8, 6)),
    ],
)
def test_whole_planes_are_dropped(
    typename: str, shape: tuple[int, ...], planes: tuple[int, ...]
) -> None:
    x = np.ones(shape)
    net = port(torch_module(typename, p=0.5), x)
    fed = tf.constant(np.moveaxis(x, 1, -1) if x.ndim > 3 else x, tf.float32)
    output = net(fed, training=True).numpy()
    output = np.moveaxis(output, -1, 1) if x.ndim > 3 else output
    flat = output.reshape(*planes, -1)
    assert np.all(flat == flat[..., :1])
    assert 0.2 < np.mean(flat) < 0.8


def test_the_gradient_is_dropped_where_the_output_is() -> None:
    x = tf.constant(randn(20, 30), tf.float32)
    net = port(dropout(0.5), randn(20, 30))
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = net(x, training=True)
    gradient = tape.gradient(output, x).numpy()
    assert np.array_equal(gradient == 0, output.numpy() == 0)


RANDOM = {
    "nn.WhiteNoise": {"mean": 0.5, "std": 2.0},
    "nn.RReLU": {"lower": 0.1, "upper": 0.9},
    "nn.TotalDropout": {"p": 0.5},
    "nn.SpatialRegionDropout": {"p": 0.5},
    "nn.SimpleColorTransform": {"range": np.ones(3), "inputChannels": 3},
    "nn.PCAColorTransform": {"eigenVectors": np.eye(3), "eigenValues": np.ones(3), "std": 0.1},
}


@pytest.mark.parametrize("typename", RANDOM)
def test_modules_that_draw_do_so_in_training_only(typename: str) -> None:
    x = randn(4, 3, 6, 6)
    net = port(torch_module(typename, **RANDOM[typename]), x)
    drawn = [net(last(x), training=True).numpy() for _ in range(12)]
    assert any(not np.array_equal(drawn[0], each) for each in drawn)
    assert np.array_equal(net(last(x)), net(last(x)))


# What is learned ----------------------------------------------------------------------------------


def test_weight_normalisation_learns_its_direction_and_length() -> None:
    inner = linear(4, 3)
    del inner.fields["weight"]
    sizes = view(3, 4).fields["size"]
    wrapped = torch_module(
        "nn.WeightNorm", modules=[inner], v=randn(3, 4), g=randn(3, 1), outputDim=1, viewOut=sizes
    )
    x = tf.constant(randn(5, 4), tf.float32)
    net = port(sequential(wrapped), randn(5, 4))
    assert names(net.trainable_variables) == ["1.v", "1.g", "1.1.bias"]
    with tf.GradientTape() as tape:
        output = net(x, training=True)
    v, g, _ = tape.gradient(output, net.trainable_variables)
    # The length of v does not matter, so that its gradient is at right angles to it.
    assert np.abs(np.sum(v * net.trainable_variables[0], axis=1)).max() < 1e-3
    assert np.abs(g).min() > 0


def test_shared_weights_are_one_variable_also_where_features_lie_otherwise() -> None:
    shared = linear(12, 3)
    root = parallel_table(sequential(view(12, sample_rank=3), shared), shared)
    x = [randn(2, 3, 2, 2), randn(2, 12)]
    net = port(root, x)
    assert names(net.variables) == ["1.2.weight", "1.2.bias"]
    outputs = net(last(x[0]), tf.constant(x[1], tf.float32), training=True)
    for expected, got in zip(run(root, x), outputs, strict=True):
        assert np.allclose(expected, got, atol=1e-5)


def test_constants_are_not_learned() -> None:
    affine = torch_module("inn.ConstAffine", a=randn(3), b=randn(3))
    net = port(sequential(affine, conv(3, 2)), randn(2, 3, 6, 6))
    assert names(net.trainable_variables) == ["2.weight", "2.bias"]


def frozen(module: TorchObject) -> TorchObject:
    """`module.accGradParameters = function() end`, as it is saved."""
    module.fields["accGradParameters"] = LuaFunction(10**6, 40, 0)
    return module


def test_what_a_script_froze_stays_frozen() -> None:
    x = randn(2, 3, 8, 8)
    head = sequential(conv(4, 4), batch_norm(4))
    net = port(sequential(frozen(conv(3, 4)), frozen(head), conv(4, 2)), x)
    assert names(net.trainable_variables) == ["3.weight", "3.bias"]
    assert "1.weight" in names(net.variables)
    # The statistics of a frozen batch normalisation move, as in Torch.
    before = value_of(net, "2.2.running_mean")
    net(last(x), training=True)
    assert np.abs(value_of(net, "2.2.running_mean") - before).max() > 0


def test_what_is_frozen_in_one_place_only_is_learned() -> None:
    shared = linear(4, 4)
    other = torch_module("nn.Linear", **shared.fields)
    net = port(sequential(frozen(other), torch_module("nn.Linear", **shared.fields)), randn(2, 4))
    assert names(net.trainable_variables) == ["1.weight", "1.bias"]


def test_gradients_of_grouped_convolutions_are_those_of_their_groups() -> None:
    fields = conv(4, 6).fields | {"groups": 2.0}
    halves = randn(6, 2, 3, 3)
    root = torch_module("cudnn.SpatialConvolution", **{**fields, "weight": halves})
    x = last(randn(2, 4, 6, 6))
    net = port(root, randn(2, 4, 6, 6))
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = net(x, training=True)[..., :3]
    gradient = tape.gradient(output, x).numpy()
    assert np.abs(gradient[..., :2]).max() > 0
    assert np.abs(gradient[..., 2:]).max() == 0


def test_the_loss_falls() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(64, 1, 8, 8))
    classes = (x.mean(axis=(1, 2, 3)) > 0).astype(np.int64)
    root = sequential(
        conv(1, 4, pad=1),
        batch_norm(4),
        relu(),
        dropout(0.1),
        view(256, sample_rank=3),
        linear(256, 2),
        torch_module("nn.LogSoftMax"),
    )
    net = port(root, x[:2])
    optimizer = tf.keras.optimizers.Adam(0.01)
    losses = []
    for _ in range(30):
        with tf.GradientTape() as tape:
            scores = net(last(x), training=True)
            loss = -tf.reduce_mean(tf.gather(scores, classes, batch_dims=1))
        gradients = tape.gradient(loss, net.trainable_variables)
        optimizer.apply_gradients(zip(gradients, net.trainable_variables, strict=True))
        losses.append(float(loss))
    assert losses[-1] < losses[0] / 2


# Corners ------------------------------------------------------------------------------------------

CORNERS = {
    "nn.HardTanh": ([-1, 0, 1], [0, 1, 0]),
    "nn.ReLU6": ([0, 3, 6], [0, 1, 0]),
    "nn.ReLU": ([0, 1], [0, 1]),
    "nn.Abs": ([-1, 0, 1], [-1, 1, 1]),
    "nn.Sqrt": ([0, 1], [0, 0.5]),
}


@pytest.mark.parametrize("typename", CORNERS)
def test_the_gradient_at_a_corner_is_torchs(typename: str) -> None:
    corner, expected = CORNERS[typename]
    x = tf.constant([corner], tf.float32)
    net = port(torch_module(typename), np.array([corner], np.float32))
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = net(x, training=True)
    assert tape.gradient(output, x).numpy().tolist() == [expected]


@pytest.mark.parametrize("typename", ["nn.Max", "nn.Min"])
def test_the_first_of_several_extrema_gets_all_of_the_gradient(typename: str) -> None:
    x = tf.constant([[2.0, 2.0, 2.0]])
    net = port(torch_module(typename, dimension=2), np.ones((1, 3)))
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = net(x, training=True)
    assert tape.gradient(output, x).numpy().tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("typename", ["nn.TVLoss", "nn.TotalVariation"])
def test_total_variation_adds_its_gradient(typename: str) -> None:
    x = randn(1, 2, 4, 5)
    net = port(torch_module(typename, strength=0.5), x)
    fed = last(x)
    with tf.GradientTape() as tape:
        tape.watch(fed)
        output = net(fed, training=True)
    got = np.moveaxis(tape.gradient(output, fed).numpy(), -1, 1)
    # neural-style neural_style.lua, TVLoss:updateGradInput.
    expected = np.zeros_like(x)
    right, below = (x[..., :-1, :-1] - other for other in (x[..., :-1, 1:], x[..., 1:, :-1]))
    expected[..., :-1, :-1] += right + below
    expected[..., :-1, 1:] -= right
    expected[..., 1:, :-1] -= below
    assert np.allclose(got, 0.5 * expected + 1, atol=1e-5)
