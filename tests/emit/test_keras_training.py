"""Keras models are trained on as Torch would: which weights move, and that the loss falls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from porter.emit.keras.library import keras
from porter.emit.keras.network import build
from porter.frontend.inputs import types_of
from porter.ir.layout import plan
from tests.build import (
    batch_norm,
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

PLANES = {
    "nOutput": 4,
    "eps": 1e-5,
    "weight": np.ones(4, np.float32),
    "bias": np.zeros(4, np.float32),
}
NET = sequential(
    torch_module("nn.SpatialReplicationPadding", pad_l=1, pad_r=1, pad_t=1, pad_b=1),
    conv(1, 4, seed=1),
    batch_norm(4, momentum=0.3),
    relu(),
    conv(4, 4, pad=1, seed=2),
    torch_module("nn.InstanceNormalization", **PLANES),
    torch_module("nn.CMul", weight=randn(1, 4, 1, 1)),
    dropout(0.25),
    view(256, sample_rank=3),
    linear(256, 2, seed=3),
    torch_module("nn.LogSoftMax"),
)


@pytest.fixture
def net() -> Any:
    """Two classes of 8×8 pictures."""
    net, _ = build(plan(model(NET).walk(types_of(randn(16, 1, 8, 8)))))
    return net


def stripes(count: int) -> tuple[Any, Any]:
    """Noise with horizontal (0) or vertical (1) stripes."""
    random = np.random.default_rng(3)
    classes = random.integers(0, 2, count)
    waves = np.sin(np.arange(8) * 2)[None, :, None] * np.ones((1, 1, 8))
    pictures = np.where(classes[:, None, None] == 0, waves, waves.swapaxes(1, 2))
    noise = random.normal(0, 0.3, pictures.shape)
    return (pictures + noise)[..., None].astype(np.float32), classes


def test_what_is_trained(net: Any) -> None:
    moving = {weight.path for weight in net.trainable_weights}
    fixed = {weight.path for weight in net.non_trainable_weights}
    assert {"2/kernel", "2/bias", "3/gamma", "3/beta", "6/gamma", "7/weight"} <= moving
    assert {path for path in fixed if "seed" not in path} == {
        "3/moving_mean",
        "3/moving_variance",
    }


def test_rates_are_those_of_torch(net: Any) -> None:
    assert net.get_layer("3").momentum == pytest.approx(0.7)
    assert net.get_layer("8").rate == pytest.approx(0.25)


def test_dropout_acts_in_training_only(net: Any) -> None:
    part = keras.Model(net.get_layer("7").output, net.get_layer("8").output)
    ones = np.ones((16, 8, 8, 4), np.float32)
    assert np.array_equal(part(ones), ones)
    dropped = np.asarray(part(ones, training=True))
    assert set(np.unique(dropped).round(3)) == {np.float32(0), np.float32(1.333)}
    assert abs((dropped == 0).mean() - 0.25) < 0.05


def test_dropout_of_version_1_does_not_make_up() -> None:
    old = torch_module("nn.Dropout", p=0.25)
    net, _ = build(plan(model(old).walk(types_of(randn(40, 50)))))
    ones = np.ones((40, 50), np.float32)
    assert np.allclose(net(ones), 0.75)
    assert set(np.unique(np.asarray(net(ones, training=True))).round(3)) == {0, 1}


def test_running_statistics_move_by_the_momentum(net: Any) -> None:
    layer = net.get_layer("3")
    x = randn(16, 8, 8, 4)
    before = np.asarray(layer.moving_mean)
    layer(x, training=True)
    expected = 0.7 * before + 0.3 * x.mean(axis=(0, 1, 2))
    assert np.allclose(layer.moving_mean, expected, atol=1e-5)


def test_fitting_lowers_the_loss(net: Any) -> None:
    pictures, classes = stripes(64)
    net.compile(
        keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    before = np.asarray(net.get_layer("7").trainable_weights[0])
    history = net.fit(pictures, classes, batch_size=16, epochs=4, verbose=0, shuffle=False)
    losses = history.history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert not np.array_equal(before, net.get_layer("7").trainable_weights[0])
