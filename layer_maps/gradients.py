"""Gradients that are not the derivative of the output, for the method `train` of layer maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def with_gradient_of(tf: Any, value: Any, other: Any) -> Any:
    """`value`, with the gradient of `other`, a tensor of the same shape.

    `other` should be finite where `value` is: zero times it is added.
    """
    nothing = tf.subtract(other, tf.stop_gradient(other))
    return tf.add(tf.stop_gradient(value), nothing)


def with_gradient(
    tf: Any, x: Any, forward: Callable[[Any], Any], backward: Callable[[Any], Any]
) -> Any:
    """`forward(x)`, whose gradient is `backward` of the upstream gradient.

    For gradients that are not a multiple of the upstream one, such as a penalty's. A SavedModel
    cannot store it inside a loop over time.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def function(x: Any) -> tuple[Any, Callable[[Any], Any]]:
        return forward(x), backward

    return function(x)
