"""Core ML packages: what is in them, and what is refused. None can be run here."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.conversion.pipeline import Conversion, convert
from porter.conversion.request import Request
from porter.emit import coreml
from porter.emit.settings import ExportOptions
from porter.errors import EmitError, ParityError
from porter.torch7 import TorchObject
from tests.build import batch_norm, conv, linear, relu, sequential, torch_module
from tests.write_t7 import write_t7

if importlib.util.find_spec("coremltools") is None:
    pytest.skip("coremltools is not installed", allow_module_level=True)

NET = sequential(conv(3, 16, stride=2, seed=1), batch_norm(16), relu(), conv(16, 4, seed=2))


def package_of(root: TorchObject, folder: Path, **options: Any) -> Conversion:
    model = write_t7(folder / "model.t7", root)
    return convert(Request(model, folder / "port", formats=("coreml",), **options))


def specification(done: Conversion) -> Any:
    with coreml.quiet():
        path = str(done.output / "model.mlpackage")
        return coreml.library().models.MLModel(path, skip_model_load=True).get_spec()


def test_names_and_bounds_are_the_port_s_and_it_says_that_it_was_not_run(tmp_path: Path) -> None:
    done = package_of(NET, tmp_path)
    (row,) = done.emitted
    assert row.measure is None
    assert row.note == (
        "2 weights and 2 of 2 vectors read back bit by bit; "
        "not run: Core ML runs on Apple's systems only"
    )
    assert "after reload in a fresh process: nothing that is run" in done.summary()
    described = specification(done).description
    (image,), (output,) = described.input, described.output
    assert (image.name, output.name) == ("input", "output")
    ranges = image.type.multiArrayType.shapeRange.sizeRanges
    bounds = [(each.lowerBound, each.upperBound) for each in ranges]
    assert bounds[0] == (1, coreml.LARGEST)
    assert bounds[1] == bounds[2] == (7, coreml.LARGEST)
    assert bounds[3] == (3, 3)
    assert "conversion_date" not in str(described.metadata)


def test_a_given_size_is_fixed(tmp_path: Path) -> None:
    done = package_of(NET, tmp_path, input_shapes=((3, 20, 24),))
    (image,) = specification(done).description.input
    assert list(image.type.multiArrayType.shape) == [1, 20, 24, 3]
    assert not image.type.multiArrayType.HasField("shapeRange")


def test_indices_are_read_without_assertions(tmp_path: Path) -> None:
    table = torch_module("nn.LookupTable", weight=np.eye(5, 4, dtype=np.float32))
    done = package_of(sequential(table, linear(4, 2)), tmp_path)
    (row,) = done.emitted
    assert row.note.startswith("2 weights and 1 of 1 vectors")


def test_weights_that_were_computed_anew_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by coremltools' own folding, which is left out."""
    factors = np.array([0.3, 0.4, 0.5, 0.6], np.float32).reshape(1, 4, 1, 1)
    scale = torch_module("nn.CMul", size=np.array(factors.shape), weight=factors)
    order = ExportOptions("channels_first")
    package_of(sequential(conv(3, 4, seed=3), scale), tmp_path, export=order)
    monkeypatch.setattr(coreml, "FOLDING", ())
    other = tmp_path / "other"
    with pytest.raises(ParityError, match="a weight is missing") as caught:
        convert(Request(tmp_path / "model.t7", other, formats=("coreml",), export=order))
    assert caught.value.where == "1.weight"
    assert not other.exists()


def test_another_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bounded_to_forty(port: Any, job: Any) -> Any:
        tensor = coreml.library().TensorType
        yield tensor("input", (1, 40, 40, 3), np.float32)

    monkeypatch.setattr(coreml, "bounded_inputs", bounded_to_forty)
    with pytest.raises(ParityError, match="has another input"):
        package_of(NET, tmp_path, input_shapes=((3, 20, 24),))


def test_what_coremltools_stumbles_over_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(coreml, "bounded_inputs", lambda port, job: iter([3]))
    with pytest.raises(EmitError, match="cannot express"):
        package_of(NET, tmp_path)
    assert not (tmp_path / "port").exists()
    assert "MIL" not in capfd.readouterr().err
