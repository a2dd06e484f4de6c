"""The fused Adam is Keras's: its numbers, its slots, and on several devices."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.apps.train.adam import FusedAdam
from porter.system.tensorflow import tf

ADAMS = [tf.keras.optimizers.Adam, FusedAdam]
SHAPES = [(3, 4), (5,)]
STEPS = 6


def schedule() -> Any:
    return tf.keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5, staircase=True)


def gradients(step: int) -> list[np.ndarray]:
    """Of several magnitudes."""
    random = np.random.default_rng(step)
    scale = 10.0 ** (2 * (step % 3) - 3)
    return [(scale * random.standard_normal(shape)).astype(np.float32) for shape in SHAPES]


def variables() -> list[Any]:
    return [tf.Variable(tf.ones(shape)) for shape in SHAPES]


def assert_same(one: list[Any], other: list[Any]) -> None:
    """Up to 1 - beta_2, which the fused operation computes in float32: 1.3e-5 off for 0.999."""
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-5, atol=5e-6)


def test_steps_and_slots_are_those_of_keras() -> None:
    outcomes = []
    for kind in ADAMS:
        adam, weights = kind(schedule(), epsilon=1e-8), variables()
        for step in range(STEPS):
            adam.apply_gradients(zip(gradients(step), weights, strict=True))
        slots = [variable.value for variable in adam.variables if len(variable.shape)]
        outcomes.append([*weights, *slots])
    assert len(outcomes[0]) == 3 * len(SHAPES)
    assert_same(*outcomes)


@pytest.mark.parametrize("loss", [1.0, float("inf")])
def test_scaled_losses_are_those_of_keras(loss: float) -> None:
    outcomes = []
    for kind in ADAMS:
        weights = variables()
        optimizer = tf.keras.optimizers.LossScaleOptimizer(kind(schedule(), epsilon=1e-8))
        optimizer.build(weights)
        for step in range(STEPS):
            # A gradient that is not finite makes no step.
            factor = loss if step == 2 else 1.0
            scaled = [optimizer.scale_loss(factor * each) for each in gradients(step)]
            optimizer.apply_gradients(zip(scaled, weights, strict=True))
        outcomes.append(weights)
    assert_same(*outcomes)


def test_a_checkpoint_of_keras_goes_on(tmp_path: Path) -> None:
    def going_on(kind: Any) -> list[Any]:
        adam, weights = kind(schedule(), epsilon=1e-8), variables()
        adam.build(weights)
        checkpoint = tf.train.Checkpoint(optimizer=adam, weights=weights)
        if last := tf.train.latest_checkpoint(str(tmp_path)):
            checkpoint.restore(last).assert_existing_objects_matched()
        for step in range(int(adam.iterations), int(adam.iterations) + STEPS):
            adam.apply_gradients(zip(gradients(step), weights, strict=True))
        if last is None:
            checkpoint.save(str(tmp_path / "checkpoint"))
        return weights

    going_on(tf.keras.optimizers.Adam)
    assert_same(*map(going_on, ADAMS))


TWO_DEVICES = """
import numpy as np
import tensorflow as tf

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from porter.apps.train.adam import FusedAdam

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    weight = tf.Variable([1.0, 2.0, 3.0])
    adam = FusedAdam(0.1, epsilon=1e-8)
    adam.build([weight])

def replica():
    own = tf.distribute.get_replica_context().replica_id_in_sync_group
    part = tf.gather(tf.constant([[0.25, -3.0, 0.5], [0.75, 1.0, 0.0]]), own)
    adam.apply_gradients([(part, weight)])

step = tf.function(lambda: strategy.run(replica), autograph=False)
for _ in range(4):
    step()
alone = tf.Variable([1.0, 2.0, 3.0])
with tf.device("CPU:0"):
    keras = tf.keras.optimizers.Adam(0.1, epsilon=1e-8)
for _ in range(4):
    keras.apply_gradients([(tf.constant([1.0, -2.0, 0.5]), alone)])
copies = [each.numpy() for each in strategy.experimental_local_results(weight)]
assert len(copies) == 2, copies
for copy in copies:
    np.testing.assert_allclose(copy, alone.numpy(), rtol=2e-5)
"""
"""1 and -2 and 0.5 are the sums of the two replicas' gradients."""


def test_every_replica_has_the_step_of_the_summed_gradient() -> None:
    # A process of its own: devices are configured before porter computes anything.
    subprocess.run([sys.executable, "-c", TWO_DEVICES], check=True, timeout=300)
