"""`--precision`: products of 16 bits are served, their error is told, and what is too coarse is not
written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.conversion.pipeline import convert
from porter.conversion.request import Request
from porter.emit.port import Port, build_widest
from porter.emit.settings import ExportOptions
from porter.errors import ParityError, UsageError
from porter.frontend.inputs import types_of
from porter.passes import optimize
from porter.passes.precision import InPrecision, Kind, reduce_precision
from porter.runtime.runner import Variables
from porter.system.tensorflow import tf
from porter.torch7 import TorchObject
from tests.build import conv, linear, model, randn, relu, sequential, torch_module
from tests.passes.test_served import error, served, style_net
from tests.write_t7 import write_t7

REDUCED = ("bfloat16", "float16")


def port_of(net: TorchObject, x: Any, precision: str) -> Port:
    found = model(net), types_of(x), Variables()
    return build_widest(*found, ExportOptions(precision=precision))


def kinds(port: Port) -> list[Kind]:
    """Of the layers that are served."""
    nodes = reduce_precision(optimize(port.graph), "bfloat16").nodes
    return [node.op.kind for node in nodes if isinstance(node.op, InPrecision)]


@pytest.mark.parametrize("precision", REDUCED)
@pytest.mark.parametrize("shape", [(1, 3, 16, 20), (3, 3, 18, 22)])
def test_what_is_served_has_fewer_digits(precision: str, shape: tuple[int, ...]) -> None:
    x, net = randn(*shape), style_net()
    port = port_of(net, randn(2, 3, 24, 28), precision)
    output = served(port, x)
    assert output.dtype == np.float32
    assert 1e-4 < error(output, net, x) < (0.3 if precision == "bfloat16" else 0.03)


def test_layers_and_variables_keep_theirs() -> None:
    x, net = randn(2, 3, 18, 22), style_net()
    port = port_of(net, x, "bfloat16")
    output = port.activations(tf.constant(np.moveaxis(x, 1, -1)))
    assert error(np.moveaxis(output["root"].numpy(), -1, 1), net, x) < 2e-5
    assert {each.dtype for each in port.variables.by_key.values()} == {tf.float32}


def test_products_but_the_last_are_reduced() -> None:
    tanh = torch_module("nn.Tanh")
    net = sequential(conv(3, 8, seed=1), relu(), conv(8, 8, seed=2), conv(8, 3, seed=3), tanh)
    found = kinds(port_of(net, randn(1, 3, 12, 12), "float32"))
    assert found == [Kind.PRODUCT, Kind.MOVER, Kind.PRODUCT, Kind.OTHER, Kind.OTHER]


@pytest.mark.parametrize("precision", REDUCED)
def test_xla_compiles_it(precision: str) -> None:
    x, net = randn(1, 3, 20, 24), style_net()
    port = port_of(net, randn(2, 3, 20, 24), precision)
    fed = tf.constant(np.moveaxis(x, 1, -1))
    output = tf.function(port.module.__call__, jit_compile=True, autograph=False)(fed)
    assert error(np.moveaxis(output.numpy(), -1, 1), net, x) < 0.3


# Conversion ---------------------------------------------------------------------------------------


@pytest.fixture
def request_of(tmp_path: Path) -> Request:
    """A conversion of a style net."""
    path = tmp_path / "net.t7"
    write_t7(path, style_net())
    return Request(path, tmp_path / "port", export=ExportOptions(precision="bfloat16"))


def test_the_error_is_reported(request_of: Request) -> None:
    done = convert(request_of)
    row = next(each for each in done.emitted if each.name == "saved_model")
    assert (row.variant, row.exact) == ("bfloat16", False)
    assert 30 < row.details["psnr"] < 90
    assert row.measure is not None
    assert f"{row.measure.max_rel:.1e} of the output's scale" in done.summary()
    assert done.manifest["precision"] == "bfloat16"


def test_a_net_that_needs_more_is_refused(request_of: Request) -> None:
    """Numbers in the middle are beyond float16's range."""
    net = sequential(linear(6, 8), linear(8, 8, seed=2), linear(8, 5, seed=3))
    first, last = (net.list("modules")[i].tensor("weight").array for i in (0, 2))
    first *= 1e6
    last *= 1e-6
    write_t7(request_of.source, net)
    request = replace(request_of, export=ExportOptions(precision="float16"))
    with pytest.raises(ParityError, match="too coarse") as caught:
        convert(request)
    assert "try bfloat16" in str(caught.value)
    assert not request.output.exists()  # type: ignore[union-attr]
    convert(request_of)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            {"export": ExportOptions(optimized="fast", precision="bfloat16")},
            'does not go with `optimize="fast"`',
        ),
        (
            {"export": ExportOptions(trainable=True, precision="bfloat16")},
            "does not go with `trainable=True`",
        ),
        ({"formats": ("keras",)}, "is for the format saved_model"),
        ({"export": ExportOptions(precision="float8")}, "there is no precision 'float8'"),
        ({"export": ExportOptions(optimized="faster")}, "there is no level 'faster'"),
    ],
)
def test_what_it_does_not_go_with(request_of: Request, change: dict[str, object], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        convert(replace(request_of, **change))  # type: ignore[arg-type]
