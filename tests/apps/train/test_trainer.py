"""The loop: Torch's Adam, learning, going on exactly, and what stops it."""

from __future__ import annotations

import resource
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from porter.apps.train.checkpoints import begin
from porter.apps.train.options import TrainOptions
from porter.apps.train.session import Session
from porter.apps.train.trainer import Hooks, TrainingProgress, TrainingSummary, optimizer_of
from porter.errors import Diverged, EmitError, UsageError
from porter.system.tensorflow import tf
from tests.apps.train.conftest import Make
from tests.apps.train.runs import last_checkpoint, start


def run(options: TrainOptions) -> tuple[TrainingSummary, list[float], dict[str, np.ndarray]]:
    """Train without the port at the end; how it went, losses and weights."""
    session, losses = Session(options), []
    done = session.trainer.train(Hooks(on_progress=lambda progress: losses.append(progress.total)))
    weights = {name: v.numpy() for name, v in session.network.variables.by_name.items()}
    return done, losses, weights


def adam(x: float, gradients: list[float], rate: float) -> float:
    """optim/adam.lua."""
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        step = rate * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t)
        x -= step * m / (v**0.5 + 1e-8)
    return x


def test_the_optimiser_is_torchs_adam(options: Make) -> None:
    gradients = [0.5, -2.0, 1e-7, 0.25]
    variable = tf.Variable(1.0)
    optimizer = optimizer_of(options(learning_rate=0.01))
    for gradient in gradients:
        optimizer.apply_gradients([(tf.constant(gradient), variable)])
    assert abs(float(variable.numpy()) - adam(1.0, gradients, 0.01)) < 1e-6


def test_the_learning_rate_falls_as_in_train_lua(options: Make) -> None:
    optimizer = optimizer_of(options(learning_rate=1.0))
    rates = {}
    for step in (0, 1999, 2000, 3999, 4000):
        optimizer.iterations.assign(step)
        rates[step] = round(float(optimizer.learning_rate), 4)
    assert rates == {0: 1.0, 1999: 1.0, 2000: 0.8, 3999: 0.8, 4000: 0.64}


@pytest.mark.parametrize("normalization", ["instance", "batch"])
def test_training_lowers_the_loss(options: Make, normalization: str) -> None:
    train_options = options(num_iterations=25, learning_rate=0.1, normalization=normalization)
    _, losses, _ = run(train_options)
    assert min(losses[-5:]) < 0.8 * losses[0]


def test_a_run_goes_on_exactly_where_it_was(options: Make, tmp_path: Path) -> None:
    _, losses, weights = run(options(output=tmp_path / "whole"))
    run(options(output=tmp_path / "parts", num_iterations=3))
    done, rest, again = run(options(output=tmp_path / "parts"))
    assert done.first_iteration == 3
    assert rest == losses[3:]
    assert all(np.array_equal(weights[name], again[name]) for name in weights)


def test_a_killed_run_goes_on_exactly(options: Make, tmp_path: Path) -> None:
    whole = start(options(output=tmp_path / "whole"))
    long = options(output=tmp_path / "killed", num_iterations=100_000)
    killed = start(long)
    state = long.output / "checkpoints" / "checkpoint"
    waited = time.monotonic() + 200
    while not state.exists() and killed.process.poll() is None and time.monotonic() < waited:
        time.sleep(0.05)
    killed.kill()
    last = last_checkpoint(long)
    finished = last + 3
    again = start(options(output=long.output, num_iterations=finished)).reported()
    assert again["start"] == last
    if last == 3:
        assert again["weights"] == whole.reported()["weights"]
    else:  # The machine was fast: compare with a run as long as that.
        whole.reported()
        other = start(options(output=tmp_path / "longer", num_iterations=finished))
        assert again["weights"] == other.reported()["weights"]


def test_a_finished_run_has_nothing_left_to_do(options: Make) -> None:
    run(options())
    done, losses, _ = run(options())
    assert (done.first_iteration, losses) == (6, [])


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(
    options: Make,
) -> None:
    session = Session(options(num_iterations=9))

    def poison(progress: TrainingProgress) -> None:
        if progress.iteration == 4:
            weight = session.network.trainable[0]
            weight.assign(weight * float("nan"))

    with pytest.raises(Diverged, match="at iteration 5") as caught:
        session.trainer.train(Hooks(on_progress=poison))
    assert "iteration-3" in str(caught.value)
    assert run(options(num_iterations=4))[0].first_iteration == 3


def test_weights_that_are_no_numbers_are_never_saved(options: Make) -> None:
    session = Session(options(num_iterations=3))

    def poison(progress: TrainingProgress) -> None:
        if progress.iteration == 3:
            weight = session.network.trainable[0]
            weight.assign(weight * float("inf"))

    with pytest.raises(Diverged, match=r"weight .* is not a number"):
        session.trainer.train(Hooks(on_progress=poison))
    assert session.trainer.checkpoints.latest() is None


def test_a_full_disk_leaves_the_last_good_checkpoint(options: Make) -> None:
    session = Session(options())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(progress: TrainingProgress) -> None:
        if progress.iteration == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))

    try:
        with pytest.raises(EmitError, match="cannot be written") as caught:
            session.trainer.train(Hooks(on_progress=fill))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "iteration-3" in str(caught.value)
    checkpoints = {file.stem for file in (session.options.output / "checkpoints").glob("*.index")}
    assert checkpoints == {"iteration-3"}
    assert run(options())[0].first_iteration == 3


def test_checkpoints_of_another_architecture_are_refused(options: Make, tmp_path: Path) -> None:
    run(options(output=tmp_path / "one", num_iterations=3))
    other = options(output=tmp_path / "two", slim=8)
    begin(other, force=False)
    shutil.copytree(tmp_path / "one" / "checkpoints", tmp_path / "two" / "checkpoints")
    with pytest.raises(UsageError, match="weights of another architecture"):
        run(other)


def test_a_damaged_checkpoint_is_named(options: Make) -> None:
    run(options(num_iterations=3))
    (data,) = options().output.glob("checkpoints/iteration-3.data*")
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(UsageError, match="cannot be restored"):
        run(options())


def test_another_runs_folder_is_not_touched(options: Make, tmp_path: Path) -> None:
    begin(options(), force=False)
    with pytest.raises(UsageError, match="other options") as caught:
        begin(options(tv_weight=5.0), force=False)
    assert "tv_weight 0.0 → 5.0" in str(caught.value)
    beside = options().output / "letter.txt"
    beside.write_text("dear")
    begin(options(tv_weight=5.0), force=True)
    assert beside.exists()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="no run of porter train"):
        begin(options(output=foreign), force=True)
    assert (foreign / "letter.txt").exists()


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    from porter.apps.train.pipeline import require_divisible

    require_divisible(4, 2)
    with pytest.raises(UsageError, match="cannot be shared out among 2"):
        require_divisible(3, 2)
