"""In graphs of constants 3×3 convolutions are matrix products on transformed filters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from porter.conversion.pipeline import convert
from porter.conversion.request import Request
from porter.emit.port import build
from porter.emit.settings import ExportOptions
from porter.frontend.dynamic import generalise
from porter.ir.graph import Graph, TensorType
from porter.passes import optimize_constants, winograd_products
from porter.passes.fold import fuse
from porter.passes.winograd_products import WinogradProduct
from porter.runtime.runner import Variables
from porter.system.tensorflow import tf
from porter.torch7 import TorchObject
from porter.torch7.writer import write_t7
from tests.build import batch_norm, conv, model, randn, relu, run, sequential, torch_module
from tests.passes.test_served import error, served


@pytest.fixture
def always_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd_products, "MARGIN", float("inf"))


def rewritten(net: TorchObject, type: TensorType, level: str = "fast") -> Graph:
    return optimize_constants(fuse(model(net).walk(type)), level)


def products(graph: Graph) -> list[str]:
    return [node.path for node in graph.nodes if isinstance(node.op, WinogradProduct)]


@pytest.mark.parametrize("pad", [0, 1, 2])
@pytest.mark.parametrize("shape", [(1, 3, 8, 12), (3, 3, 7, 9), (2, 3, 4, 3)])
def test_the_product_is_the_convolution(
    pad: int, shape: tuple[int, ...], always_pays: None
) -> None:
    net, x = sequential(conv(3, 6, pad=pad, seed=1), batch_norm(6), relu()), randn(*shape)
    graph = rewritten(net, TensorType(shape))
    assert products(graph) == ["1"]
    assert error(served(build(graph, Variables()), x), net, x) < 1e-5


@pytest.mark.parametrize(
    "layer",
    [conv(3, 6, kernel=1), conv(3, 6, stride=2, pad=1), conv(3, 6, kernel=5)],
    ids=["1×1", "stride 2", "5×5"],
)
def test_other_convolutions_stay(layer: TorchObject, always_pays: None) -> None:
    assert not products(rewritten(sequential(layer), TensorType((2, 3, 9, 9))))


def test_images_of_any_size_and_other_levels_stay(always_pays: None) -> None:
    net = sequential(conv(3, 6, pad=1))
    type = TensorType((2, 3, 8, 8))
    assert not products(optimize_constants(fuse(generalise(model(net), type)), "fast"))
    assert not products(rewritten(net, type, "exact"))


@pytest.mark.parametrize(
    ("planes", "extent", "faster"), [(512, 28, True), (512, 7, False), (16, 224, False)]
)
def test_it_is_used_where_it_is_faster(planes: int, extent: int, faster: bool) -> None:
    net = sequential(conv(planes, planes, pad=1))
    assert bool(products(rewritten(net, TensorType((1, planes, extent, extent))))) == faster


def test_a_frozen_classifier_has_no_convolution_left(tmp_path: Path, always_pays: None) -> None:
    net = sequential(
        conv(3, 6, pad=1, seed=1),
        relu(),
        torch_module("nn.View", size=np.array([384]), numElements=384, numInputDims=3),
    )
    path = write_t7(tmp_path / "model.t7", net)
    fast = ExportOptions(optimized="fast")
    done = convert(Request(path, tmp_path / "port", ((3, 8, 8),), formats=("frozen",), export=fast))
    serve = tf.saved_model.load(str(done.output / "frozen")).signatures["serving_default"]
    kinds = {op.type for op in serve.graph.get_operations()}
    assert "BatchMatMulV2" in kinds
    assert "Conv2D" not in kinds
    x = randn(2, 3, 8, 8)
    output = serve(input=tf.constant(np.moveaxis(x, 1, -1)))["output"].numpy()
    np.testing.assert_allclose(output, run(net, x), atol=1e-4)
