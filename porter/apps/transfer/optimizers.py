"""L-BFGS and Adam over an image; both see the loss only through `evaluate`.

`evaluate` takes an image H×W×3 in float64, with what Adam carries from step to step, and returns
the loss and its gradient. It counts its calls and ends the run by raising `Enough`: that is how
both keep to the same budget.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from porter.apps.transfer.recipe import Recipe
from porter.system.extras import optional

Array = npt.NDArray[Any]
FIRST_STEP = 4.0
"""Root mean square, of 255, of the first step that L-BFGS tries."""


class Enough(Exception):
    """The budget of evaluations is used up."""


@dataclass(frozen=True)
class AdamState:
    """Moments of the gradient, and how many steps they include."""

    first: Array
    second: Array
    steps: int = 0


Evaluate = Callable[[Array, "AdamState | None"], tuple[float, Array]]


def adam(evaluate: Evaluate, start: Array, recipe: Recipe, state: AdamState | None = None) -> None:
    """Kingma and Ba 2015, β = (0.9, 0.999), ε = 1e-8; runs until `evaluate` raises Enough.

    The learning rate is of 255 and falls by `decay` every `decay_steps` steps. With the `state`
    and the image that `evaluate` was last called with, a run goes on where it was stopped.
    """
    x = start.astype(np.float64)
    state = state or AdamState(np.zeros(x.shape), np.zeros(x.shape))
    while True:
        _, gradient = evaluate(x, state)
        x, state = stepped(x, gradient, recipe, state)


def stepped(x: Array, gradient: Array, recipe: Recipe, state: AdamState) -> tuple[Array, AdamState]:
    """One step of Adam."""
    rate = recipe.learning_rate * recipe.decay ** (state.steps // recipe.decay_steps)
    steps = state.steps + 1
    first = 0.9 * state.first + 0.1 * gradient
    second = 0.999 * state.second + 0.001 * gradient.astype(np.float64) ** 2
    mean, square = first / (1 - 0.9**steps), second / (1 - 0.999**steps)
    moved: Array = x - rate * mean / (np.sqrt(square) + 1e-8)
    if recipe.bounded:
        moved = np.clip(moved, 0, 255)
    return moved, AdamState(first, second, steps)


def lbfgs(evaluate: Evaluate, start: Array, recipe: Recipe) -> None:
    """SciPy's L-BFGS-B; runs until `evaluate` raises Enough, or no step lowers the loss.

    Where a line search fails on the last digits of float32, it begins once more from there. The
    image is scaled so that the first step, which L-BFGS-B makes of length 1, changes it by a useful
    amount.
    """
    minimize = scipy_optimize().minimize
    scale = FIRST_STEP * np.sqrt(start.size)
    shape = start.shape

    def scaled(z: Array) -> tuple[float, Array]:
        loss, gradient = evaluate((z * scale).reshape(shape), None)
        return loss, gradient.reshape(-1).astype(np.float64) * scale

    z, before = start.reshape(-1).astype(np.float64) / scale, np.inf
    bounds = [(0.0, 255.0 / scale)] * z.size if recipe.bounded else None
    while True:
        done = minimize(
            scaled,
            z,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={
                "maxcor": recipe.memory,
                "maxfun": 10**9,
                "maxiter": 10**9,
                "ftol": 0.0,
                "gtol": 0.0,
            },
        )
        if not done.fun < before:
            return
        z, before = done.x, float(done.fun)


def scipy_optimize() -> Any:
    """scipy.optimize. Raises UsageError where SciPy is not installed."""
    return optional("scipy.optimize", "scipy", "L-BFGS", ", or use `optimizer=adam`")
