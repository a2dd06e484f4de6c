"""The criterion beside its formulas in NumPy, and Torch's gradient of total variation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from porter.apps.train.criterion import criterion, total_variation
from porter.apps.transfer.descriptor import open_descriptor
from porter.errors import UsageError
from porter.system.tensorflow import tf
from tests.apps.train.conftest import SIZE, Make

LAYERS = ["relu1_1", "relu2_1", "relu2_2"]


def gram(features: np.ndarray) -> np.ndarray:
    """Of h×w×c features, as texture_nets divides it: by their number."""
    flat = features.reshape(-1, features.shape[-1]).astype(np.float64)
    return flat.T @ flat / features.size


def pooled(x: np.ndarray) -> np.ndarray:
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


def test_content_and_style_are_texture_nets(options: Make, descriptor: Path) -> None:
    train_options = options(content_weight=2.0, style_weight=3.0)
    describe = open_descriptor(descriptor, LAYERS)
    random = np.random.default_rng(1)
    outputs, photos = (random.uniform(0, 255, (2, SIZE, SIZE, 3)).astype(np.float32) for _ in "ab")
    style = random.uniform(0, 255, (1, 40, 36, 3)).astype(np.float32)
    losses = criterion(describe, tf.constant(style), train_options)(
        tf.constant(outputs), tf.constant(photos)
    )

    one, other, target = (
        {k: v.numpy() for k, v in describe(x).items()} for x in (outputs, photos, style)
    )
    content = 2 * np.mean((one["relu2_2"].astype(np.float64) - other["relu2_2"]) ** 2)
    each = [
        np.mean((gram(one[name][i]) - gram(target[name][0])) ** 2)
        for i in range(2)
        for name in ("relu1_1", "relu2_1")
    ]
    np.testing.assert_allclose(float(losses["content"]), content, rtol=1e-5)
    np.testing.assert_allclose(float(losses["style"]), 3 * sum(each) / 2, rtol=1e-4)
    assert float(losses["tv"]) == 0


def test_coarser_scales_count_less(options: Make, descriptor: Path) -> None:
    describe = open_descriptor(descriptor, LAYERS)
    random = np.random.default_rng(2)
    outputs, photos = (random.uniform(0, 255, (1, SIZE, SIZE, 3)).astype(np.float32) for _ in "ab")
    style = random.uniform(0, 255, (1, SIZE, SIZE, 3)).astype(np.float32)

    def content(scales: int, outputs: np.ndarray, photos: np.ndarray) -> float:
        train_options = options(pyramid_loss=scales, pyramid_decay=0.5)
        compare = criterion(describe, tf.constant(style), train_options)
        return float(compare(tf.constant(outputs), tf.constant(photos))["content"])

    fine, coarse = content(1, outputs, photos), content(1, pooled(outputs), pooled(photos))
    np.testing.assert_allclose(content(2, outputs, photos), fine + 0.5 * coarse, rtol=1e-5)
    with pytest.raises(UsageError, match="leaves nothing"):
        content(6, outputs, photos)


def test_total_variation_has_torchs_gradient() -> None:
    """TVLoss.lua: differences to the right and below, of pixels that have both neighbours."""
    x = np.random.default_rng(3).standard_normal((2, 5, 6, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        variable = tf.Variable(x)
        loss = total_variation(variable)
    target = np.zeros_like(x)
    right = x[:, :-1, :-1] - x[:, :-1, 1:]
    below = x[:, :-1, :-1] - x[:, 1:, :-1]
    target[:, :-1, :-1] += right + below
    target[:, :-1, 1:] -= right
    target[:, 1:, :-1] -= below
    np.testing.assert_allclose(tape.gradient(loss, variable).numpy(), target, atol=1e-5)
