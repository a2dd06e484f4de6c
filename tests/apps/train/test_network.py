"""A module tree that is trained, and the tree that comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from porter import torch7
from porter.apps.train.generators import generator
from porter.apps.train.network import TrainableNetwork
from porter.apps.train.options import Architecture
from porter.errors import UsageError
from porter.frontend.module_tree import submodules
from porter.imaging.presets import UNIT, VGG
from porter.system.tensorflow import tf
from porter.torch7 import TorchObject
from porter.torch7.writer import write_t7
from tests.build import FIXTURES, conv, relu, sequential


def network(root: TorchObject) -> TrainableNetwork:
    net = TrainableNetwork(root, UNIT, VGG)
    net.make_variables(2, 32)
    return net


def levels(seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).uniform(0, 255, (2, 32, 32, 3)), tf.float32)


@pytest.mark.parametrize("kind", ["instance", "batch"])
@pytest.mark.parametrize("name", ["johnson", "pyramid", "skip_unpool"])
def test_trained_weights_come_back_into_the_file(name: str, kind: str, tmp_path: Path) -> None:
    net = network(generator(Architecture(name, normalization=kind, slim=8, tv_weight=2.0), seed=1))
    for variable in net.variables.by_key.values():
        variable.assign(variable + tf.random.stateless_uniform(variable.shape, [1, 2]) * 0.1)
    file = write_t7(tmp_path / "trained.t7", net.trained(tv_weight=2.0))
    again = network(torch7.read(file).root)
    assert net.variables.by_name.keys() == again.variables.by_name.keys()
    assert np.array_equal(net(levels()), again(levels()))
    last = list(submodules(again.root))[-1][1]
    assert (last.typename, last.get("strength")) == ("nn.TVLoss", 2.0)


def test_shared_and_flattened_storages_stay_shared() -> None:
    """After getParameters all weights are windows on one storage."""
    file = torch7.read(FIXTURES / "formats" / "model_shared_weights.t7")
    net = TrainableNetwork(file.root, UNIT, UNIT)
    keys = [
        t.key
        for _, m in submodules(net.trained(0.0))
        for t in m.fields.values()
        if hasattr(t, "key")
    ]
    before = [
        t.key for _, m in submodules(file.root) for t in m.fields.values() if hasattr(t, "key")
    ]
    assert keys == before


def test_running_statistics_move_in_training_only() -> None:
    net = network(generator(Architecture("johnson", normalization="batch", slim=16), seed=1))
    mean = net.variables.by_name["3.running_mean"]
    net(levels())
    assert not np.any(mean)
    net(levels(), training=True)
    assert np.all(mean)
    assert all(mean is not each for each in net.trainable)


def test_noise_is_another_at_every_step_and_the_same_at_one() -> None:
    net = network(generator(Architecture("pyramid", "texture", slim=8), seed=1))
    one, same, other = (net(levels(), step=tf.constant(n, tf.int64)) for n in (3, 3, 4))
    assert np.array_equal(one, same)
    assert not np.allclose(one, other)
    assert not np.allclose(one[0], one[1])


def test_a_net_that_changes_the_size_is_refused() -> None:
    net = TrainableNetwork(sequential(conv(3, 4, 3), relu(), conv(4, 3, 3)), UNIT, UNIT)
    with pytest.raises(UsageError, match="of a crop of 32×32"):
        net.require_same_size(32)
