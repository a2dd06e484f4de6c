"""One way to call a net, whatever format it comes in."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from porter.apps.stylize import memory
from porter.apps.stylize.loading import LoadOptions, open_net
from porter.apps.stylize.runners import Net, Sizes, refused
from porter.conversion.pipeline import convert
from porter.conversion.request import Request
from porter.emit import tflite
from porter.emit.formats import ExportJob
from porter.emit.keras.network import build
from porter.emit.port import build_widest
from porter.emit.saved_model import SavedModel
from porter.emit.settings import ExportOptions, TFLiteSettings
from porter.errors import OutOfMemory, PorterError
from porter.frontend.model_file import open_model
from porter.ir.fields import Array
from porter.ir.graph import TensorType
from porter.layer_maps import default_registry
from porter.runtime.runner import Variables
from tests.build import FIXTURES
from tests.imaging.nets import OILPAINT, meaning_for, skipping
from tests.write_t7 import write_t7

JOHNSON = FIXTURES / "nets" / "texture_nets_johnson_slim" / "model.t7"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net with a skip connection in every format that can be run, beside its `.t7`."""
    folder = tmp_path_factory.mktemp("formats") / "port"
    return written(write_t7(folder.parent / "net.t7", skipping()), folder)


@pytest.fixture(scope="module")
def branching(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net that runs otherwise on small pictures, and whose flat buffer computes its sizes."""
    return written(JOHNSON, tmp_path_factory.mktemp("branching") / "port")


def written(net: Path, folder: Path) -> Path:
    folder.mkdir()
    file = open_model(net, default_registry())
    model, spec = file.model(), meaning_for(file, "plain")
    assert spec is not None
    types = TensorType((2, 3, 18, 26))
    job = ExportJob(model, types, build_widest(model, types, Variables()), (), image_spec=spec)
    SavedModel().write(job, folder)
    keras_model, _ = build(job.port.plan)
    keras_model.save(folder / "model.keras")
    port = tflite.traced(job, tflite.dialect_of("float32"))
    flat = tflite.converted(replace(job, port=port), "float32")
    (folder / "model.tflite").write_bytes(flat)
    (folder / "manifest.json").write_text(json.dumps({"pictures": spec.json()}))
    return folder


@pytest.mark.parametrize(
    "name", ["net.t7", "port/saved_model", "port/model.keras", "port/model.tflite"]
)
def test_memory_is_estimated_before_a_picture_runs(
    name: str, port: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times the pixels, four times the memory, and the size that the error names fits."""
    net, _ = open_net(port.parent / name, LoadOptions("plain"))
    monkeypatch.setattr(net, "run", lambda x: pytest.fail("the net ran"))
    peaks = []
    for side in (1000, 2000):
        peaks.append(net.activations(side, side, 1))
    assert peaks[1] == pytest.approx(4 * peaks[0], rel=0.02)
    assert peaks[0] >= 1000 * 1000 * 3 * 4
    monkeypatch.setattr("porter.runtime.memory.available", lambda: 2**29)
    with pytest.raises(OutOfMemory, match=r"6000×9000 takes about .* GB") as caught:
        memory.require_room(net, 6000, 9000)
    assert caught.value.exit_code == 2
    longest = int(str(caught.value.hint).split("image_size=")[1].split("`")[0])
    assert 500 < longest < 9000
    memory.require_room(net, longest * 2 // 3, longest)


@pytest.mark.parametrize("name", ["saved_model", "model.tflite"])
def test_memory_counts_branches_and_tensors_of_unknown_size(name: str, branching: Path) -> None:
    graph = open_model(JOHNSON, default_registry()).model().walk(TensorType((1, 3, 1200, 1200)))
    widest = max(math.prod(value.shape) for value in graph.values()) * 4
    net, _ = open_net(branching / name, LoadOptions("plain"))
    assert net.activations(1200, 1200, 1) > 1.5 * widest


@pytest.mark.parametrize("name", ["", "saved_model", "model.keras", "model.tflite"])
def test_every_format_computes_the_same(port: Path, name: str) -> None:
    torch, spec = open_net(port.parent / "net.t7", LoadOptions("plain"))
    net, loaded_spec = open_net(port / name, LoadOptions())
    assert loaded_spec.geometry == spec.geometry
    assert net.shape == torch.shape == (None, None, None, 3)
    for shape in ((1, 18, 26, 3), (2, 40, 32, 3)):
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        np.testing.assert_allclose(net(x), torch(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["float16", "dynamic", "uint8", "int8"])
def test_quantised_files_are_fed_in_their_own_integers(tmp_path: Path, kind: str) -> None:
    samples = np.random.default_rng(1).uniform(0, 1, (4, 18, 26, 3)).astype(np.float32)
    np.savez(tmp_path / "samples.npz", input=samples)
    source = write_t7(tmp_path / "net.t7", skipping())
    settings = {"tflite": TFLiteSettings((kind,), tmp_path / "samples.npz")}
    request = Request(
        source, tmp_path / "port", formats=("tflite",), preset="plain", settings=settings
    )
    net, _ = open_net(convert(request).output, LoadOptions())
    torch, _ = open_net(source, LoadOptions("plain"))
    expected = torch(samples[:1])
    assert np.abs(net(samples[:1]) - expected).max() < 0.05 * np.abs(expected).max()


def test_channels_first_is_turned(tmp_path: Path, no_reload: None) -> None:
    source = write_t7(tmp_path / "net.t7", skipping())
    request = Request(
        source,
        tmp_path / "port",
        formats=("saved_model",),
        preset="plain",
        export=ExportOptions("channels_first"),
    )
    net, _ = open_net(convert(request).output, LoadOptions())
    torch, _ = open_net(source, LoadOptions("plain"))
    assert net.shape == (None, 3, None, None)
    assert net.sizes == (None, None)
    x = np.random.default_rng(0).standard_normal((1, 18, 26, 3)).astype(np.float32)
    np.testing.assert_allclose(net(x), torch(x), rtol=1e-4, atol=1e-5)


class Failing(Net):
    """Raises what it is told to."""

    shape: Sizes = (None, None, None, 3)

    def __init__(self, fail: Callable[[], Exception]) -> None:
        self.fail = fail

    def run(self, x: Array) -> Array:
        raise self.fail()


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (MemoryError(), "`image_size=`"),
        (RuntimeError("OOM when allocating tensor"), "`image_size=`"),
        (RuntimeError("Graph execution error:\n\nOOM when allocating tensor"), "`image_size=`"),
        (
            RuntimeError(
                "Graph execution error:\n\nOperation received an exception:"
                "Status: 1, message: could not create a primitive, in file …"
            ),
            "`image_size=`",
        ),
        (ValueError("dimensions must be equal"), None),
    ],
)
def test_what_a_runtime_raises_is_reported(error: Exception, hint: str | None) -> None:
    refusal = refused(error, (1, 300, 451, 3))
    assert "300×451" in refusal.message
    assert (hint in (refusal.hint or "")) if hint else refusal.received == str(error)
    with pytest.raises(PorterError, match="8×9"):
        Failing(lambda: error)(np.zeros((1, 8, 9, 3), np.float32))


def test_porter_s_own_errors_pass() -> None:
    with pytest.raises(PorterError, match="as it is"):
        Failing(lambda: PorterError("as it is"))(np.zeros((1, 8, 9, 3), np.float32))


def test_a_torch_file_keeps_full_precision() -> None:
    from porter.system.tensorflow import tf

    open_net(OILPAINT / "model.t7", LoadOptions())
    assert not tf.config.experimental.tensor_float_32_execution_enabled()
