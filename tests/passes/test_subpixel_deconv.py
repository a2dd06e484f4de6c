"""Full convolutions to few planes are convolutions to a stride's pixels, and compute the same."""

from __future__ import annotations

from typing import Any

import pytest

from porter.passes import optimize, optimize_constants
from porter.passes.fold import fuse
from porter.passes.subpixel_deconv import SubpixelDeconvolution
from porter.torch7 import TorchObject
from tests.build import batch_norm, conv, randn, sequential, torch_module
from tests.passes.test_served import error, port_of, served


def full_conv(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int] = (0, 0),
    adj: tuple[int, int] = (0, 0),
    planes: int = 3,
    inputs: int = 6,
) -> TorchObject:
    sizes = {"k": kernel, "d": stride, "pad": pad, "adj": adj}
    fields = {f"{name}{axis}": v[i] for name, v in sizes.items() for i, axis in enumerate("HW")}
    return torch_module(
        "nn.SpatialFullConvolution",
        nInputPlane=inputs,
        nOutputPlane=planes,
        **fields,
        weight=randn(inputs, planes, *kernel, seed=3),
        bias=randn(planes, seed=4),
    )


def rewritten(net: TorchObject) -> bool:
    graph = port_of(net, randn(2, 3, 5, 6), "none").graph
    frozen = optimize_constants(fuse(graph))
    both = [
        any(isinstance(node.op, SubpixelDeconvolution) for node in each.nodes)
        for each in (optimize(graph), frozen)
    ]
    assert both[0] == both[1]
    return both[0]


LAYERS: dict[str, dict[str, Any]] = {
    "DCGAN": {"kernel": (4, 4), "stride": (2, 2), "pad": (1, 1)},
    "FSRCNN": {"kernel": (9, 9), "stride": (3, 3), "pad": (4, 4), "planes": 1},
    "its adj": {"kernel": (9, 9), "stride": (2, 2), "pad": (4, 4), "adj": (1, 1), "planes": 1},
    "no overlap": {"kernel": (2, 2), "stride": (2, 2)},
    "gaps": {"kernel": (2, 3), "stride": (4, 4), "adj": (2, 3)},
    "oblong": {"kernel": (5, 3), "stride": (2, 2), "pad": (2, 0), "adj": (1, 0)},
    "four planes": {"kernel": (3, 3), "stride": (2, 2), "pad": (1, 1), "planes": 4},
    "adj without pad": {"kernel": (3, 3), "stride": (3, 3), "adj": (2, 2)},
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("shape", [(1, 3, 5, 4), (3, 3, 4, 7)])
def test_it_is_the_full_convolution(layer: dict[str, Any], shape: tuple[int, ...]) -> None:
    net, x = sequential(conv(3, 6, pad=1, seed=1), full_conv(**layer)), randn(*shape)
    assert rewritten(net)
    assert error(served(port_of(net, randn(2, 3, 6, 5), "exact"), x), net, x) < 1e-5


def test_a_normalisation_behind_it() -> None:
    layer = full_conv((4, 4), (2, 2), (1, 1))
    net, x = sequential(conv(3, 6, pad=1, seed=1), layer, batch_norm(3)), randn(2, 3, 5, 4)
    assert error(served(port_of(net, x, "exact"), x), net, x) < 1e-5


@pytest.mark.parametrize(
    "other",
    [{"planes": 8}, {"stride": (2, 1)}, {"stride": (1, 1)}, {"inputs": 3}],
    ids=["more planes", "unequal strides", "stride 1", "few input planes"],
)
def test_others_stay(other: dict[str, Any]) -> None:
    layer = full_conv(**LAYERS["DCGAN"] | other)
    assert not rewritten(sequential(conv(3, other.get("inputs", 6), pad=1, seed=1), layer))


def test_a_net_that_begins_with_it() -> None:
    net, x = full_conv((4, 4), (2, 2), (1, 1)), randn(2, 6, 1, 3)
    assert error(served(port_of(net, x, "exact"), x), net, x) < 1e-5
