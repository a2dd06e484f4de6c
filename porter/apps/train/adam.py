"""Keras's Adam with one operation for each weight, where Keras's own writes a dozen.

For small nets these dozens cost more than the arithmetic. Slots, checkpoints, the scaling of losses
and distribution stay Keras's.
"""

from __future__ import annotations

from typing import Any

from porter.system.tensorflow import tf


class FusedAdam(tf.keras.optimizers.Adam):  # type: ignore[misc]
    """optim.adam: m·rate / (sqrt(v) + epsilon), rate = lr·sqrt(1 - beta_2^t) / (1 - beta_1^t)."""

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> Any:
        """One update of all weights, whose corrected rate is computed once."""
        t = tf.cast(self.iterations + 1, tf.float32)
        first, second = (1 - tf.pow(beta, t) for beta in (self.beta_1, self.beta_2))
        rate = tf.cast(learning_rate, tf.float32) * tf.sqrt(second) / first
        return super()._backend_update_step(grads, trainable_variables, rate)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One update of a float32 weight, at a rate that is corrected already."""
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].handle,
            v=self._velocities[index].handle,
            beta1_power=0.0,  # Powers of 0 correct nothing.
            beta2_power=0.0,
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )
