"""Keras models as files: what is in them, and that every backend computes the same."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from porter.conversion.pipeline import Conversion, convert
from porter.conversion.request import Request
from porter.emit.keras.library import keras
from porter.emit.keras.network import build
from porter.emit.subprocess_runner import run_in_subprocess
from porter.frontend.inputs import types_of
from porter.ir.layout import plan
from porter.parity.measure import compare
from porter.torch7 import TorchObject
from tests.build import (
    batch_norm,
    conv,
    dropout,
    linear,
    model,
    randn,
    relu,
    sequential,
    torch_module,
    view,
)
from tests.write_t7 import write_t7


def mirrored(pad: int) -> TorchObject:
    return torch_module("nn.SpatialReflectionPadding", pad_l=pad, pad_r=pad, pad_t=pad, pad_b=pad)


NET = sequential(
    mirrored(1),
    conv(3, 4, seed=1),
    batch_norm(4, momentum=0.3),
    relu(),
    sequential(conv(4, 4, pad=1, stride=2, seed=2), relu()),
    view(64, sample_rank=3),
    dropout(0.25),
    linear(64, 5, seed=2),
)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    folder = tmp_path_factory.mktemp("keras")
    path = write_t7(folder / "model.t7", NET)
    return convert(Request(path, folder / "port", ((3, 8, 8),), formats=("keras",)))


def load(folder: Path) -> Any:
    """The model of a folder, its layers imported as a user would."""
    import_layers(folder)
    return keras.models.load_model(folder / "model.keras")


def import_layers(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("layers", folder / "layers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def built(root: TorchObject, x: Any) -> tuple[Any, Any]:
    """The model of a module, and the network that was built for it."""
    return build(plan(model(root).walk(types_of(x))))


# The files ----------------------------------------------------------------------------------------


def test_layers_are_keras_own_and_named_by_path(port: Conversion) -> None:
    kinds = {layer.name: type(layer).__name__ for layer in load(port.output).layers}
    assert kinds == {
        "input": "InputLayer",
        "1": "SpatialReflectionPadding",
        "2": "Conv2D",
        "3": "BatchNormalization",
        "4": "ReLU",
        "5_1_pad": "ZeroPadding2D",
        "5_1": "Conv2D",
        "5_2": "ReLU",
        "6": "Reshape",
        "7": "Dropout",
        "8": "Dense",
    }


def test_the_report_counts_layers(port: Conversion) -> None:
    (row,) = port.emitted
    assert row.measure is not None
    assert row.measure.within(1e-5)
    assert row.note == ("8 Torch layers of Keras's own; 1 in layers.py (SpatialReflectionPadding)")


def test_layers_know_nothing_of_porter(port: Conversion) -> None:
    text = (port.output / "layers.py").read_text()
    assert "import porter" not in text
    assert "import tensorflow" not in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_no_file_of_layers_where_keras_has_all(tmp_path: Path) -> None:
    path = write_t7(tmp_path / "model.t7", sequential(linear(4, 3), relu()))
    port = convert(Request(path, tmp_path / "port", formats=("keras",)))
    assert not (port.output / "layers.py").exists()
    assert keras.models.load_model(port.output / "model.keras").count_params() == 15


def test_layers_of_two_models_live_side_by_side() -> None:
    x = randn(1, 3, 8, 8)
    models = [built(sequential(mirrored(pad)), x) for pad in (1, 2)]
    configs = [network.sources.text() for _, network in models]
    names = [text.split('"porter", "')[1].split('"')[0] for text in configs]
    assert names[0] != names[1]
    again = [keras.Model.from_config(original.get_config()) for original, _ in models]
    assert [each.output_shape[1] for each in again] == [10, 12]
    for original, copy in zip([original for original, _ in models], again, strict=True):
        assert np.array_equal(original(np.ones((1, 8, 8, 3))), copy(np.ones((1, 8, 8, 3))))


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_same_file_under_another_backend(port: Conversion, backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    samples = [{"input": randn(2, 8, 8, 3)}, {"input": randn(1, 8, 8, 3)}]
    path = port.output / "model.keras"
    expected, computed = (
        run_in_subprocess("keras", path, samples, each, "output")
        for each in ("tensorflow", backend)
    )
    for first, second in zip(expected, computed, strict=True):
        assert compare(first["output"], second["output"]).within(1e-5)
