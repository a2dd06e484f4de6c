"""Gradients that are not the derivative of the output, for the method `train` of layer maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def with_gradient(
    tf: Any, x: Any, forward: Callable[[Any], Any], backward: Callable[[Any], Any]
) -> Any:
    """`forward(x)`, whose gradient is `backward` of the gradient that comes in.

    `backward` gives what Torch's `updateGradInput` does; it may read tensors made before.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def function(x: Any) -> tuple[Any, Callable[[Any], Any]]:
        return forward(x), backward

    return function(x)
