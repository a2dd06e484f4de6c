"""Full convolutions with many input planes are matrix products, and compute the same."""

from __future__ import annotations

import numpy as np
import pytest

from porter.passes import matrix_deconvolution, optimize
from porter.passes.matrix_deconvolution import MatrixDeconvolution
from porter.torch7 import TorchObject
from tests.build import batch_norm, conv, randn, relu, sequential, torch_module
from tests.passes.test_served import error, port_of, served


def full_conv(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int] = (0, 0),
    adj: tuple[int, int] = (0, 0),
    bias: bool = True,
) -> TorchObject:
    """Six planes to five."""
    random = np.random.default_rng(3)
    sizes = {"k": kernel, "d": stride, "pad": pad, "adj": adj}
    fields = {f"{name}{axis}": v[i] for name, v in sizes.items() for i, axis in enumerate("HW")}
    weight = random.standard_normal((6, 5, *kernel)).astype(np.float32)
    learned = {"bias": random.standard_normal(5).astype(np.float32)} if bias else {}
    return torch_module(
        "nn.SpatialFullConvolution",
        nInputPlane=6,
        nOutputPlane=5,
        **fields,
        weight=weight,
        **learned,
    )


@pytest.fixture(autouse=True)
def few_planes_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_deconvolution, "MIN_PLANES", 6)


def rewritten(net: TorchObject) -> bool:
    graph = port_of(net, randn(2, 3, 5, 6), "none").graph
    return any(isinstance(node.op, MatrixDeconvolution) for node in optimize(graph).nodes)


@pytest.mark.parametrize(
    "layer",
    [
        full_conv((4, 4), (2, 2), (1, 1)),
        full_conv((2, 2), (2, 2)),
        full_conv((6, 4), (3, 2), (1, 0)),
        full_conv((4, 6), (2, 2), (1, 2), (1, 0)),
        full_conv((3, 3), (1, 1), (2, 1), bias=False),
        full_conv((4, 4), (4, 1), (0, 3)),
    ],
    ids=["U-Net", "no overlap", "oblong", "adj", "stride 1", "each axis its own"],
)
@pytest.mark.parametrize("shape", [(1, 3, 5, 4), (3, 3, 4, 7)])
def test_the_product_is_the_convolution(layer: TorchObject, shape: tuple[int, ...]) -> None:
    net, x = sequential(conv(3, 6, pad=1, seed=1), layer, relu()), randn(*shape)
    assert rewritten(net)
    assert error(served(port_of(net, randn(2, 3, 6, 5), "exact"), x), net, x) < 1e-5


def test_a_normalisation_behind_it_takes_its_bias() -> None:
    layer = full_conv((4, 4), (2, 2), (1, 1))
    net, x = sequential(conv(3, 6, pad=1, seed=1), layer, batch_norm(5)), randn(2, 3, 5, 4)
    assert rewritten(net)
    assert error(served(port_of(net, x, "exact"), x), net, x) < 1e-5


@pytest.mark.parametrize(
    "layer",
    [full_conv((3, 3), (2, 2), (1, 1)), full_conv((4, 4), (2, 2), (0, 0), (1, 0))],
    ids=["a kernel of one stride and a half", "adj without pad"],
)
def test_others_stay(layer: TorchObject) -> None:
    assert not rewritten(sequential(conv(3, 6, pad=1, seed=1), layer))


def test_few_planes_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_deconvolution, "MIN_PLANES", 7)
    assert not rewritten(sequential(conv(3, 6, pad=1), full_conv((4, 4), (2, 2), (1, 1))))
