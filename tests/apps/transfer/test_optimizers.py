"""Both optimisers lower the loss; L-BFGS needs fewer evaluations than Adam."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.apps.transfer import open_descriptor, read_recipe, transfer
from porter.apps.transfer.job import Checkpointing, TransferResult
from porter.apps.transfer.optimizers import Enough, adam, lbfgs
from porter.apps.transfer.recipe import Recipe
from tests.apps.transfer import files
from tests.build import FIXTURES

CONTENT, STYLE = FIXTURES / "trained/oilpaint/chelsea.png", FIXTURES / "styles/strokes.png"
LAYERS = {"content_layers": {"relu2_1": 1.0}, "style_layers": {"relu1_1": 1.0, "relu2_2": 1.0}}


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return open_descriptor(
        files.npz(tmp_path_factory.mktemp("net")), ["relu1_1", "relu2_1", "relu2_2"]
    )


def transferred(
    net: Any, evaluations: int = 25, checkpointing: Checkpointing | None = None, **changes: Any
) -> TransferResult:
    """A small transfer."""
    recipe = read_recipe("texture-nets", evaluations=evaluations, **(LAYERS | changes))
    return transfer(CONTENT, STYLE, net, recipe, image_size=48, checkpointing=checkpointing)


def bests(result: TransferResult) -> list[float]:
    """The lowest loss so far after every evaluation."""
    totals = [losses.total for _, losses in result.history]
    return list(np.minimum.accumulate(totals))


def test_lbfgs_overtakes_adam(net: Any) -> None:
    slow = transferred(net, 60, optimizer="adam")
    fast = transferred(net, 60, optimizer="lbfgs")
    for result in (slow, fast):
        assert len(result.history) == 60
        assert result.best_loss < 0.1 * result.history[0][1].total
        assert result.best_loss == bests(result)[-1]
        assert result.history[result.best_step - 1][1].total == result.best_loss
    reached = next(n for n, best in enumerate(bests(fast)) if best <= slow.best_loss)
    assert reached < 60 / 2


def test_the_same_seed_makes_the_same_picture(net: Any) -> None:
    one, same, other = (transferred(net, init="noise", seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.image, same.image)
    assert (one.image != other.image).any()


def test_scales_share_the_budget_and_reset_the_best(net: Any) -> None:
    result = transferred(net, 20, scales=(0.5, 1.0))
    assert [scale for scale, _ in result.history] == [0] * 10 + [1] * 10
    assert result.best_step > 10
    assert result.image.shape == (32, 48, 3)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_resumed_run_goes_on(net: Any, optimizer: str, tmp_path: Path) -> None:
    state = tmp_path / "run.npz"
    whole = transferred(net, 24, optimizer=optimizer)
    transferred(net, 10, Checkpointing(state, every=4), optimizer=optimizer)
    resumed = transferred(net, 24, Checkpointing(state, resume=True), optimizer=optimizer)
    assert len(resumed.history) == 24
    if optimizer == "adam":
        np.testing.assert_array_equal(resumed.image, whole.image)
        assert resumed.history == whole.history
    else:
        assert resumed.best_loss < resumed.history[9][1].total


def test_a_killed_run_goes_on_from_its_last_state(net: Any, tmp_path: Path) -> None:
    state = tmp_path / "run.npz"
    whole = transferred(net, 12, optimizer="adam")
    counts: list[int] = []

    class Killed(BaseException):
        pass

    def kill(progress: Any, losses: Any) -> None:
        counts.append(progress.count)
        if progress.count == 7:
            raise Killed

    recipe = read_recipe("texture-nets", evaluations=12, optimizer="adam", **LAYERS)
    with pytest.raises(Killed):
        transfer(
            CONTENT,
            STYLE,
            net,
            recipe,
            image_size=48,
            checkpointing=Checkpointing(state, every=5),
            on_progress=kill,
        )
    resumed = transferred(net, 12, Checkpointing(state, resume=True), optimizer="adam")
    np.testing.assert_array_equal(resumed.image, whole.image)


def test_ctrl_c_gives_the_best_picture(net: Any) -> None:
    def stop(progress: Any, losses: Any) -> None:
        if progress.count == 6:
            raise KeyboardInterrupt

    recipe = read_recipe("texture-nets", evaluations=50, **LAYERS)
    result = transfer(CONTENT, STYLE, net, recipe, image_size=48, on_progress=stop)
    assert len(result.history) == 6
    assert result.stopped is not None
    assert result.stopped.exit_code == 130


def test_bounds_hold(net: Any) -> None:
    bounded = transferred(net, 15, bounded=True, init="noise", noise=80.0)
    assert bounded.best_loss < bounded.history[0][1].total


def rosenbrock(x: Any) -> tuple[float, Any]:
    """Its valley ends at (100, 10000 / 100)."""
    a, b = x.reshape(-1) / 100
    value = (1 - a) ** 2 + 100 * (b - a**2) ** 2
    slope = np.array([-2 * (1 - a) - 400 * a * (b - a**2), 200 * (b - a**2)]) / 100
    return value, slope.reshape(x.shape)


@pytest.mark.parametrize(("optimizer", "budget"), [(lbfgs, 200), (adam, 4000)])
def test_both_find_the_end_of_a_valley(optimizer: Any, budget: int) -> None:
    calls = 0
    best = (np.inf, np.zeros(2))

    def evaluate(x: Any, state: Any) -> tuple[float, Any]:
        nonlocal calls, best
        if calls >= budget:
            raise Enough
        calls += 1
        value, slope = rosenbrock(x)
        if value < best[0]:
            best = value, x.copy()
        return value, slope

    with contextlib.suppress(Enough):
        optimizer(evaluate, np.full((1, 1, 2), -50.0), Recipe(learning_rate=5.0))
    np.testing.assert_allclose(best[1].reshape(-1), [100, 100], atol=1)
