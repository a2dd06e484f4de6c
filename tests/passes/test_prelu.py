"""PReLU with fewer passes over memory."""

from __future__ import annotations

import numpy as np
import pytest

from porter.passes import optimize
from porter.passes.prelu import LargerOfBoth
from porter.torch7 import TorchObject
from tests.build import conv, randn, sequential, torch_module
from tests.passes.test_served import error, port_of, served


def prelu(*slopes: float) -> TorchObject:
    planes = len(slopes) if len(slopes) > 1 else 0
    weight = np.array(slopes, np.float32)
    return torch_module("nn.PReLU", nOutputPlane=planes, weight=weight)


@pytest.mark.parametrize(
    ("layer", "simpler"),
    [
        (prelu(0.25), True),
        (prelu(0.25, 1.0, 0.5, 0.125), True),
        (prelu(0.25, 1.5, 0.5, 0.125), False),
        (prelu(-0.25, 0.25, 0.5, 0.125), False),
        (prelu(0.0), False),
    ],
    ids=["one", "planes", "above 1", "negative", "zero"],
)
@pytest.mark.parametrize("shape", [(1, 3, 9, 8), (2, 3, 5, 6)])
def test_slopes(layer: TorchObject, simpler: bool, shape: tuple[int, ...]) -> None:
    net, x = sequential(conv(3, 4, seed=1), layer), randn(*shape)
    port = port_of(net, x, "exact")
    found = any(isinstance(node.op, LargerOfBoth) for node in optimize(port.graph).nodes)
    assert found is simpler
    assert error(served(port, x), net, x) < 1e-5


def test_every_variable_is_still_saved() -> None:
    port = port_of(sequential(conv(3, 4), prelu(0.25)), randn(1, 3, 9, 8), "exact")
    assert "2.weight" in port.variables.by_name
