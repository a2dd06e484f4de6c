"""Every loss equals what NumPy computes from its formula, and its gradient finite differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.apps.transfer import (
    content_loss,
    gram_matrix,
    open_descriptor,
    style_loss,
    total_variation,
)
from porter.apps.transfer.objective import Objective
from porter.apps.transfer.recipe import NAMES, Recipe, read_recipe
from porter.system.tensorflow import tf
from tests.apps.transfer import files

RANDOM = np.random.default_rng(4)
X, Y = (RANDOM.standard_normal((2, 6, 7, 5)).astype(np.float32) for _ in range(2))
CLOSE = 1e-5


def gram(x: Any) -> Any:
    """Sums of products, one pair of features after the other."""
    n, h, w, c = x.shape
    matrix = np.zeros((n, c, c))
    for i in range(c):
        for j in range(c):
            matrix[:, i, j] = (x[..., i] * x[..., j]).sum(axis=(1, 2)) / (h * w)
    return matrix


def test_gram_matrices() -> None:
    np.testing.assert_allclose(gram_matrix(X), gram(X.astype(np.float64)), rtol=CLOSE, atol=1e-6)


def test_gradients_of_gram_matrices() -> None:
    """Also those of a sum that is not symmetric, and the second ones."""
    weights = RANDOM.standard_normal((2, 5, 5)).astype(np.float32)

    def product(x: Any) -> Any:
        flat = tf.reshape(x, [2, 42, 5])
        return tf.linalg.matrix_transpose(flat) @ flat / 42

    def gradients(matrix: Any) -> tuple[Any, Any]:
        x = tf.constant(X)
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                total = tf.reduce_sum(weights * matrix(x) ** 2)
            first = inner.gradient(total, x)
            squares = tf.reduce_sum(first**2)
        return first, outer.gradient(squares, x)

    for own, derived in zip(gradients(gram_matrix), gradients(product), strict=True):
        np.testing.assert_allclose(own, derived, rtol=CLOSE, atol=1e-6)


@pytest.mark.parametrize("form", ["half-sum", "sum", "mean", "course"])
def test_content_loss(form: Any) -> None:
    squares = ((X.astype(np.float64) - Y) ** 2).sum(axis=(1, 2, 3)).mean()
    elements = 6 * 7 * 5
    share = {"half-sum": 0.5, "sum": 1, "mean": 1 / elements, "course": 1 / (4 * elements)}[form]
    np.testing.assert_allclose(content_loss(X, Y, form), squares * share, rtol=CLOSE)


@pytest.mark.parametrize("form", ["gatys", "neural-art-tf", "keras", "texture-nets", "mean"])
def test_style_loss_is_its_sources_formula(form: Any) -> None:
    # Every source writes its formula for Gram matrices that are sums over all positions.
    positions, pixels, c = 42, 168, 5
    g, a = (gram(each.astype(np.float64)) * positions for each in (X, Y))
    squares = ((g - a) ** 2).sum(axis=(1, 2))
    expected = {
        "gatys": squares / (4 * c**2 * positions**2),
        "neural-art-tf": squares / 2 / (positions * c) ** 2,
        "keras": squares / (4 * 3**2 * pixels**2),
        "texture-nets": ((g - a) ** 2 / (positions * c) ** 2).mean(axis=(1, 2)),
        "mean": ((g - a) ** 2 / positions**2).mean(axis=(1, 2)),
    }[form].mean()
    loss = style_loss(gram_matrix(X), gram_matrix(Y), form, positions, pixels)
    np.testing.assert_allclose(loss, expected, rtol=CLOSE)


@pytest.mark.parametrize("form", ["squared", "absolute", "keras"])
def test_total_variation(form: Any) -> None:
    x = X.astype(np.float64)
    a, b = x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]
    expected = {
        "squared": (a**2).sum() + (b**2).sum(),
        "absolute": np.abs(a).sum() + np.abs(b).sum(),
        "keras": ((a[:, :, :-1] ** 2 + b[:, :-1] ** 2) ** 1.25).sum(),
    }[form] / len(x)
    np.testing.assert_allclose(total_variation(tf.constant(X), form), expected, rtol=CLOSE)
    if form == "absolute":
        theirs = tf.reduce_mean(tf.image.total_variation(tf.constant(X)))
        np.testing.assert_allclose(theirs, expected, rtol=CLOSE)


CONTENT = RANDOM.uniform(0, 255, (16, 20, 3))
STYLES = [(RANDOM.uniform(0, 255, (18, 14, 3)), 1.0), (RANDOM.uniform(0, 255, (12, 12, 3)), 3.0)]
LAYERS = {"content_layers": {"relu2_1": 2.0}, "style_layers": {"conv1_1": 0.5, "relu3_1": 1.0}}


def objective(folder: Path, dtype: str, recipe: str, **changes: Any) -> Objective:
    """A recipe on the layers of the slim net."""
    chosen: Recipe = read_recipe(recipe, **(LAYERS | changes))
    net = open_descriptor(files.npz(folder), chosen.layers, pooling=chosen.pooling, dtype=dtype)
    return Objective(net, chosen, CONTENT, STYLES)


@pytest.mark.parametrize("recipe", NAMES)
def test_the_total_of_every_recipe(recipe: str, tmp_path: Path) -> None:
    compared = objective(tmp_path, "float32", recipe, tv_weight=0.5)
    net, chosen = compared.descriptor, compared.recipe
    picture = RANDOM.uniform(0, 255, CONTENT.shape)

    def describe(x: Any) -> dict[str, Any]:
        features = net(tf.constant(x[None], tf.float32))
        return {name: np.asarray(each, np.float64) for name, each in features.items()}

    of, content = describe(picture), describe(CONTENT)
    blend = {
        name: 0.25 * gram(describe(STYLES[0][0])[name]) + 0.75 * gram(describe(STYLES[1][0])[name])
        for name in chosen.style_layers
    }
    squares = ((of["relu2_1"] - content["relu2_1"]) ** 2).sum()
    share = {"half-sum": 0.5, "sum": 1, "mean": 1 / content["relu2_1"].size}[chosen.content_loss]
    expected_content = chosen.content_weight * 2 * share * squares
    expected_style = 0.0
    for name, weight in chosen.style_layers.items():
        _, h, w, c = of[name].shape
        difference = ((gram(of[name]) - blend[name]) ** 2).sum()
        factor = {
            "gatys": 1 / (4 * c**2),
            "neural-art-tf": 1 / (2 * c**2),
            "keras": (h * w) ** 2 / (36 * (16 * 20) ** 2),
            "texture-nets": 1 / c**4,
        }[chosen.style_loss]
        expected_style += chosen.style_weight * weight * factor * difference
    variation = np.asarray(total_variation(tf.constant(picture[None]), chosen.tv_loss)) * 0.5  # type: ignore[arg-type]
    losses = compared(picture).losses
    np.testing.assert_allclose(losses.content, expected_content, rtol=CLOSE)
    np.testing.assert_allclose(losses.style, expected_style, rtol=CLOSE)
    np.testing.assert_allclose(losses.variation, variation, rtol=CLOSE)
    parts = losses.content + losses.style + losses.variation
    np.testing.assert_allclose(losses.total, parts, rtol=CLOSE)


@pytest.mark.parametrize("recipe", NAMES)
def test_gradients_pass_finite_differences(recipe: str, tmp_path: Path) -> None:
    compared = objective(tmp_path, "float64", recipe, tv_weight=0.5)
    picture = RANDOM.uniform(0, 255, CONTENT.shape)
    gradient = compared(picture).gradient
    step = 1e-4
    for _ in range(4):
        way = RANDOM.standard_normal(picture.shape)
        way /= np.linalg.norm(way)
        ahead, behind = (compared.losses_of(picture + side * step * way).total for side in (1, -1))
        slope = (ahead - behind) / (2 * step)
        assert abs(slope - (gradient * way).sum()) <= 1e-5 * np.linalg.norm(gradient)


def test_a_blend_of_styles_is_the_weighted_sum_of_losses(tmp_path: Path) -> None:
    blended = objective(tmp_path, "float64", "gatys", content_weight=0.0)
    alone = [Objective(blended.descriptor, blended.recipe, CONTENT, [one]) for one in STYLES]

    def gap(picture: Any) -> float:
        first, second = (each.losses_of(picture).style for each in alone)
        return blended.losses_of(picture).style - (0.25 * first + 0.75 * second)

    one, other = (RANDOM.uniform(0, 255, CONTENT.shape) for _ in range(2))
    assert gap(one) == pytest.approx(gap(other), rel=1e-9)
    assert gap(one) < 0
