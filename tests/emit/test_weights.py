"""Tensors by Torch path: which, under which names, in which order, and bit by bit."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from porter.cli.main import main
from porter.conversion.pipeline import convert
from porter.conversion.request import Request
from porter.emit import arrays
from porter.emit.settings import WeightSettings
from porter.errors import ParityError, UsageError
from porter.frontend.model_file import open_model
from porter.frontend.weights import Weights, collect, collect_as_tensorflow
from porter.layer_maps import default_registry
from porter.system.extras import install
from tests.build import FIXTURES, batch_norm, conv, linear, sequential, small_net, torch_module
from tests.write_t7 import write_t7

KINDS = list(arrays.NEEDS)


def stored(path: Path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """What a file holds, read by its own library."""
    kind = path.suffix[1:]
    if kind != "npz":
        pytest.importorskip(arrays.NEEDS[kind].partition(".")[0])
    stored_arrays = dict(arrays.READ[kind](arrays.require(kind), path))
    text = str(stored_arrays.pop(arrays.METADATA))
    return stored_arrays, json.loads(text)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ["torch", "tensorflow"])
def test_the_command_writes_every_tensor(tmp_path: Path, kind: str, order: str) -> None:
    model = write_t7(tmp_path / "model.t7", small_net())
    target = tmp_path / f"weights.{kind}"
    assert main(["weights", str(model), "-o", str(target), "--order", order]) == 0
    stored_arrays, about = stored(target)
    assert set(stored_arrays) == {
        f"{path}.{name}" for path in ("1", "3.1", "4") for name in ("weight", "bias")
    }
    assert about == {"format": "porter-weights 1", "order": order, "aliases": {}}
    weight = small_net().list("modules")[0].tensor("weight").array
    expected = weight if order == "torch" else weight.transpose(2, 3, 1, 0)
    assert stored_arrays["1.weight"].dtype == np.float32
    np.testing.assert_array_equal(stored_arrays["1.weight"], expected)


def test_what_cannot_be_converted_still_has_weights() -> None:
    """A class of the user's own, a file of a checkpoint, and no input size."""
    unknown = open_model(
        FIXTURES / "formats" / "model_unknown_user_class.t7", default_registry()
    ).root
    assert set(collect(unknown, default_registry()).arrays) >= {"1.weight", "1.bias"}
    own = torch_module("mine.Layer", scales=[np.ones(2, np.float32), np.zeros(3)], gain=np.ones(4))
    assert set(collect(sequential(own), default_registry()).arrays) == {
        "1.scales.1",
        "1.scales.2",
        "1.gain",
    }
    assert set(collect_as_tensorflow(sequential(own), default_registry()).arrays) == {
        "1.scales.1",
        "1.scales.2",
        "1.gain",
    }


def test_gradients_outputs_and_scratch_are_left_out() -> None:
    left = dict.fromkeys(
        ["gradWeight", "gradInput", "output", "finput", "_buffer", "save_mean"],
        np.ones(2, np.float32),
    )
    module = torch_module("nn.Linear", weight=np.ones((2, 2)), bias=np.ones(2), **left)
    assert set(collect(module, default_registry()).arrays) == {"weight", "bias"}
    model = open_model(
        FIXTURES / "formats" / "model_with_grads_and_buffers.t7", default_registry()
    ).root
    assert not [
        name
        for name in collect(model, default_registry()).arrays
        if "grad" in name or "output" in name
    ]


def test_running_statistics_are_weights() -> None:
    names = set(collect(sequential(batch_norm(3)), default_registry()).arrays)
    assert names == {f"1.{each}" for each in ("weight", "bias", "running_mean", "running_var")}


def test_shared_memory_is_written_once() -> None:
    first, second = linear(2, 2), linear(2, 2, seed=1)
    second.fields["weight"] = first.fields["weight"]
    weights = collect(sequential(first, second, first), default_registry())
    assert set(weights.arrays) == {"1.weight", "1.bias", "2.bias"}
    assert weights.aliases == {"2.weight": "1.weight", "3": "1"}


def test_modules_in_other_fields_are_found() -> None:
    holder = torch_module("mine.Holder", inner=linear(2, 3))
    assert set(collect(holder, default_registry()).arrays) == {"inner.weight", "inner.bias"}


def test_modules_inside_each_other_are_walked_once() -> None:
    holder = torch_module("mine.Holder", inner=linear(2, 3))
    holder.fields["itself"] = holder
    assert set(collect(holder, default_registry()).arrays) == {"inner.weight", "inner.bias"}


def test_names_of_a_file_cannot_reach_into_a_format(tmp_path: Path) -> None:
    wild = torch_module(
        "mine.Layer", **{"a/b": np.ones(2), "a_b": np.zeros(2), "\x1b[2J": np.ones(1)}
    )
    weights = collect(wild, default_registry())
    assert set(weights.arrays) == {"a_b", "a_b_", "\\x1b[2J"}
    for kind in KINDS:
        if kind == "npz" or pytest.importorskip(arrays.NEEDS[kind].partition(".")[0]):
            arrays.write_arrays(weights, tmp_path / f"w.{kind}", kind)


@pytest.mark.parametrize("kind", KINDS)
def test_every_bit_is_compared(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind != "npz":
        pytest.importorskip(arrays.NEEDS[kind].partition(".")[0])
    odd = {
        "nan": np.array([np.nan, -0.0, np.inf], np.float32),
        "half": np.array([[1.5]], np.float16),
        "bytes": np.arange(5, dtype=np.uint8),
        "long": np.array([2**62], np.int64),
    }
    path = tmp_path / f"w.{kind}"
    arrays.write_arrays(Weights(odd), path, kind)
    written = arrays.WRITE[kind]

    def spoil(library: object, path: Path, tensors: dict[str, np.ndarray], text: str) -> None:
        written(library, path, tensors | {"nan": np.array([np.nan, 0.0, np.inf], np.float32)}, text)

    monkeypatch.setitem(arrays.WRITE, kind, spoil)
    with pytest.raises(ParityError, match="nan"):
        arrays.write_arrays(Weights(odd), path, kind)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(UsageError, match=r"a \.safetensors file needs the package") as caught:
        arrays.require("safetensors")
    assert caught.value.hint == install("safetensors")


def test_files_that_are_there_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_t7(tmp_path / "model.t7", small_net())
    target = tmp_path / "w.npz"
    target.write_bytes(b"mine")
    assert main(["weights", str(model), "-o", str(target)]) == 2
    assert target.read_bytes() == b"mine"
    assert main(["weights", str(model), "-o", str(tmp_path / "w.txt")]) == 2
    assert "known endings" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.t7", "w.npz"]


def test_a_port_writes_its_variables(tmp_path: Path) -> None:
    """Behind a flattening, TensorFlow's order has the rows of a kernel as the port has them."""
    net = sequential(
        conv(3, 4, kernel=3),
        torch_module("nn.Reshape", size=np.array([16], np.int64), batchMode=True, nelement=16),
        linear(16, 2),
    )
    model = write_t7(tmp_path / "model.t7", net)
    shapes = ((3, 4, 4),)
    settings = {"weights": WeightSettings(("npz",), "tensorflow")}
    done = convert(
        Request(model, tmp_path / "port", shapes, formats=("weights",), settings=settings)
    )
    (row,) = done.emitted
    assert (row.variant, row.measure) == ("weights.npz", None)
    stored_arrays, about = stored(tmp_path / "port" / "weights.npz")
    assert about["order"] == "tensorflow"
    weight = net.list("modules")[2].tensor("weight").array
    as_flattened = weight.reshape(2, 4, 2, 2).transpose(2, 3, 1, 0).reshape(16, 2)
    np.testing.assert_array_equal(stored_arrays["3.weight"], as_flattened)
    in_torch = {"weights": WeightSettings(("npz",), "torch")}
    convert(Request(model, tmp_path / "two", shapes, formats=("weights",), settings=in_torch))
    np.testing.assert_array_equal(stored(tmp_path / "two" / "weights.npz")[0]["3.weight"], weight)
