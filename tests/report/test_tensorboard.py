"""Event files for TensorBoard, read back: layers of both sides, pictures, errors, the graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.cli import main as cli
from porter.conversion.pipeline import Conversion, convert
from porter.conversion.request import Request
from porter.errors import ParityError, UsageError
from porter.ir.layout import OpContext
from porter.ir.registry import Registry, register, registering_into
from porter.layer_maps.convolution import SpatialConvolution
from porter.report.tensorboard import logbook
from porter.system.tensorflow import tf
from tests.build import conv, relu, sequential, small_net
from tests.write_t7 import write_t7

pytest.importorskip("tensorboard")

PICTURES = sequential(conv(3, 4, pad=1, seed=1), relu(), conv(4, 3, pad=1, seed=2))


def events(folder: Path) -> Iterator[Any]:
    for path in sorted(folder.iterdir()):
        yield from tf.compat.v1.train.summary_iterator(str(path))


def values(folder: Path) -> dict[tuple[str, int], Any]:
    """Tensors by tag and step."""
    return {
        (value.tag, event.step): tf.make_ndarray(value.tensor)
        for event in events(folder)
        for value in event.summary.value
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Conversion, Path]:
    folder = tmp_path_factory.mktemp("tensorboard")
    model = write_t7(folder / "model.t7", PICTURES)
    request = Request(model, folder / "port", formats=("weights",), tensorboard=folder / "log")
    return convert(request), folder / "log"


def test_both_runs_have_a_histogram_of_every_layer_and_input(
    written: tuple[Conversion, Path],
) -> None:
    done, folder = written
    names = ["1 nn.SpatialConvolution", "2 nn.ReLU", "3 nn.SpatialConvolution"]
    expected = {(f"layers/{name}", i) for name in names for i in range(len(done.reports))}
    for run in ("oracle", "port"):
        assert {key for key in values(folder / run) if key[0].startswith("layers/")} == expected


def test_a_histogram_counts_the_output_of_the_layer(written: tuple[Conversion, Path]) -> None:
    done, folder = written
    for i, report in enumerate(done.reports):
        (expected,) = report.expected
        key = ("layers/3 nn.SpatialConvolution", i)
        for run in ("oracle", "port"):
            left, right, count = values(folder / run)[key].T
            assert count.sum() == expected.size
            assert left.min() == pytest.approx(expected.min(), rel=1e-5)
            assert right.max() == pytest.approx(expected.max(), rel=1e-5)


def test_pictures_of_both_sides_are_png(written: tuple[Conversion, Path]) -> None:
    done, folder = written
    oracle, port = values(folder / "oracle"), values(folder / "port")
    strip = done.reports[0].strip
    assert strip is not None
    for events, name in ((oracle, "input"), (oracle, "output"), (port, "output")):
        width, height, *pngs = events[f"pictures/{name}", 0]
        picture = tf.io.decode_png(pngs[0]).numpy()
        assert (int(height), int(width), 3) == picture.shape == strip.expected.shape
    assert ("pictures/difference", 0) in port
    one, other = (
        tf.io.decode_png(events["pictures/output", 0][2]).numpy() for events in (oracle, port)
    )
    assert np.abs(one.astype(int) - other).max() <= 1


def test_errors_are_those_of_the_report(written: tuple[Conversion, Path]) -> None:
    done, folder = written
    port = values(folder / "port")
    rows = done.json()["layers"]
    for step, row in enumerate(rows, start=1):
        for name in ("isolated", "accumulated"):
            assert port[f"errors/{name}", step] == pytest.approx(row[name]["max_rel"])
    text = port["layers", 0].item().decode()
    assert "| 2 | `2` | nn.ReLU |" in text


def test_the_graph_is_named_by_torch_path(written: tuple[Conversion, Path]) -> None:
    _, folder = written
    (definition,) = (event.graph_def for event in events(folder / "port") if event.graph_def)
    names = {node.name for node in tf.compat.v1.GraphDef.FromString(definition).node}
    assert any(name.startswith("1/") for name in names)
    assert any(name.startswith("3/") for name in names)


def test_a_port_that_differs_is_written_too(tmp_path: Path, registry: Registry) -> None:
    class Twice(SpatialConvolution):
        def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
            return super().apply(tf, x, at) * 2

    with registering_into(registry) as broken:
        register("nn.SpatialConvolution", override=True)(Twice)
    model = write_t7(tmp_path / "model.t7", PICTURES)
    with pytest.raises(ParityError):
        convert(Request(model, tmp_path / "port", registry=broken, tensorboard=tmp_path / "log"))
    assert not (tmp_path / "port").exists()
    assert values(tmp_path / "log" / "port")["errors/isolated", 1] > 0.1


def test_only_event_files_are_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_t7(tmp_path / "model.t7", small_net())
    log = tmp_path / "log"

    def again(*more: str) -> int:
        arguments = ["convert", str(model), "-o", str(tmp_path / "port"), "--format", "weights"]
        return cli.main([*arguments, "--tensorboard", str(log), "--force", *more])

    assert again() == 0
    before = sorted(path.name for path in log.rglob("*") if path.is_file())
    assert again() == 0
    after = sorted(path.name for path in log.rglob("*") if path.is_file())
    assert len(before) == len(after) == 2
    (log / "notes.txt").write_text("mine")
    assert again() == UsageError.exit_code
    assert "was not written by porter" in capsys.readouterr().err
    assert (log / "notes.txt").read_text() == "mine"


def test_a_missing_library_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = "needs the package tensorboard"
    with pytest.raises(UsageError, match=message), logbook(tmp_path / "log", False):
        raise AssertionError("not reached")
    assert not (tmp_path / "log").exists()
