"""Pictures of different sizes take different ways through what is served, and all are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from porter.conversion.large_input import large_types
from porter.conversion.pipeline import convert
from porter.conversion.request import Request
from porter.emit.port import build_widest
from porter.emit.settings import ExportOptions
from porter.errors import ParityError
from porter.ir.graph import TensorType
from porter.ir.nested import Nested
from porter.passes import small_inputs
from porter.passes.normalization import FusedNormalization
from porter.passes.winograd_regions import WinogradRegion
from porter.runtime.runner import Variables
from porter.torch7 import TorchObject
from porter.torch7.writer import write_t7
from tests.build import conv, model, randn, run, sequential, torch_module
from tests.passes.test_served import error, instance_norm, port_of, residual, served, style_net

SMALL = TensorType((2, 3, 37, 53))


def untouched(self: Any, tf: Any, x: Any, *rest: Any) -> Any:
    """In place of a normalisation's arithmetic."""
    return x


def doubled(self: Any, tf: Any, images: dict[int, Any], *rest: Any) -> list[Any]:
    """In place of what is computed in tiles."""
    return [2 * x for x in images.values()]


def test_small_pictures_take_the_layers_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_inputs, "MIN_PIXELS", 30 * 30)
    monkeypatch.setattr(FusedNormalization, "normalized", untouched)
    net = style_net()
    port = port_of(net, randn(2, 3, 24, 28), "exact")
    small, large = randn(2, 3, 28, 32), randn(2, 3, 32, 32)
    assert error(served(port, small), net, small) < 2e-5
    assert error(served(port, large), net, large) > 0.1


def wide_net() -> TorchObject:
    return sequential(conv(3, 128, stride=4), residual(128))


@pytest.mark.parametrize(
    ("net", "level", "kind", "method", "wrong"),
    [
        (style_net(), "exact", FusedNormalization, "normalized", untouched),
        (wide_net(), "fast", WinogradRegion, "tiled", doubled),
    ],
)
def test_what_is_wrong_on_large_pictures_alone_is_not_written(
    net: TorchObject,
    level: str,
    kind: type,
    method: str,
    wrong: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(small_inputs, "MIN_PIXELS", 96 * 96)
    monkeypatch.setattr(kind, method, wrong)
    path = tmp_path / "model.t7"
    write_t7(path, net)
    request = Request(
        path, tmp_path / "made", formats=("saved_model",), export=ExportOptions(optimized=level)
    )
    with pytest.raises(ParityError, match="computes something else") as caught:
        convert(request)
    assert caught.value.hint is not None
    assert "`optimize=none`" in caught.value.hint
    assert not (tmp_path / "made").exists()


def test_what_is_compared_on_a_larger_picture_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "model.t7"
    write_t7(path, style_net())
    done = convert(Request(path, tmp_path / "made", formats=("saved_model",)))
    assert "also on 1×3×111×159" in done.emitted[0].note


def large(net: Any, level: str, shape: Nested[TensorType] = SMALL) -> Any:
    loaded = model(net)
    port = build_widest(loaded, shape, Variables(), ExportOptions(optimized=level))
    return large_types(loaded, shape, port.graph, level)


def test_winograd_groups_decide_how_large_a_picture_is() -> None:
    net = wide_net()
    assert large(net, "exact") == TensorType((1, 3, 111, 159))
    assert large(net, "fast") == TensorType((1, 3, 222, 318))
    net = sequential(conv(3, 96, stride=4), residual(96))
    assert large(net, "fast") == TensorType((1, 3, 296, 424))


def test_several_inputs_grow_together() -> None:
    joined = torch_module("nn.JoinTable", dimension=2)
    net = sequential(joined, conv(6, 8, seed=1), instance_norm(8))
    larger = TensorType((1, 3, 111, 159))
    assert large(net, "exact", [SMALL, SMALL]) == [larger, larger]


def test_nets_that_take_all_pictures_alike_need_no_larger_one() -> None:
    plain = sequential(conv(3, 8), torch_module("nn.Tanh"))
    assert large(plain, "fast") is None
    assert large(sequential(conv(3, 8), instance_norm(8)), "none") is None


def test_nets_of_one_size_are_compared_on_that() -> None:
    features = 8 * 16 * 16
    view = torch_module("nn.View", size=[features], numElements=features, numInputDims=3)
    net = sequential(conv(3, 8, pad=1), instance_norm(8), view)
    x = randn(2, 3, 16, 16)
    assert run(net, x).shape == (2, features)
    assert large(net, "exact", TensorType((2, 3, 16, 16))) is None
