"""Nets of which Torch drops a batch of one, and works along other axes then."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from porter import convert
from porter.frontend.inputs import differs_alone
from porter.system.tensorflow import tf
from porter.torch7 import TorchObject
from tests.build import (
    concat_table,
    conv,
    identity,
    image,
    linear,
    model,
    randn,
    run,
    sequential,
    torch_module,
    view,
)
from tests.write_t7 import write_t7


def attention() -> TorchObject:
    """Planes times a mask of one plane, which is squeezed and repeated for each of them."""
    mask = sequential(
        conv(3, 1, 1, seed=2),
        torch_module("nn.Squeeze"),
        torch_module("nn.Replicate", nfeatures=3, dim=2),
    )
    return sequential(concat_table(identity(), mask), torch_module("nn.CMulTable"))


def test_the_module_that_works_along_other_axes_is_named() -> None:
    module = differs_alone(model(attention()), image(1, 3, 5, 7))
    assert module == "1.2.3 (nn.Replicate)"


@pytest.mark.parametrize(
    "root",
    [
        sequential(conv(3, 2), view(12), linear(12, 4)),
        sequential(conv(3, 2)),
        sequential(conv(3, 2), torch_module("nn.SplitTable", dimension=1)),
    ],
    ids=["view drops the batch", "nothing is dropped", "the batch is split"],
)
def test_a_batch_that_is_dropped_alone_is_no_difference(root: TorchObject) -> None:
    assert differs_alone(model(root), image(1, 3, 4, 5)) is None


def test_such_a_net_is_verified_and_served_for_any_batch(tmp_path: Path) -> None:
    port = convert(write_t7(tmp_path / "net.t7", attention()), output=tmp_path / "out")
    assert any("Torch drops a batch of one" in line for line in port.manifest["warnings"])
    serve = tf.saved_model.load(str(tmp_path / "out" / "saved_model"))
    x = randn(3, 3, 6, 8)
    expected = np.moveaxis(np.asarray(run(attention(), x)), 1, -1)
    computed = serve(np.moveaxis(x, 1, -1)).numpy()
    np.testing.assert_allclose(computed, expected, rtol=1e-4, atol=1e-5)
    alone = serve(np.moveaxis(x[:1], 1, -1)).numpy()
    np.testing.assert_allclose(alone, expected[:1], rtol=1e-4, atol=1e-5)
