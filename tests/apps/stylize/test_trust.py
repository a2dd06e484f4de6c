"""`layers.py` beside a `.keras` is a program: it runs where the manifest or the user says so."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from porter import convert
from porter.apps.stylize.loading import LoadOptions, open_net
from porter.cli import main as cli
from porter.errors import Corrupt, UnsafeFile, UsageError
from porter.system.tensorflow import tf
from tests.build import conv, sequential, torch_module
from tests.write_t7 import write_t7

LOCAL = {"nInputPlane": 3, "size": 3, "alpha": 1e-2, "beta": 0.75, "k": 1.0}


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net with a layer that Keras lacks, as porter writes it."""
    folder = tmp_path_factory.mktemp("trust")
    net = sequential(torch_module("nn.SpatialCrossMapLRN", **LOCAL), conv(3, 3, 3, pad=1))
    port = folder / "port"
    convert(
        write_t7(folder / "net.t7", net),
        output=port,
        formats="keras",
        preset="plain",
        input_shapes="3x16x16",
    )
    assert (port / "layers.py").is_file()
    return port


@pytest.fixture
def port(converted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(converted, tmp_path / "port"))


def leaves_a_mark(port: Path) -> Path:
    """Let the file say that it ran."""
    layers, mark = port / "layers.py", port.parent / "ran"
    layers.write_text(f"open({str(mark)!r}, 'w').close()\n" + layers.read_text())
    return mark


def test_what_the_manifest_lists_is_run(port: Path) -> None:
    net, _ = open_net(port, LoadOptions())
    assert net.shape == (None, None, None, 3)


def test_a_changed_file_is_never_run(port: Path) -> None:
    mark = leaves_a_mark(port)
    for trusted in (False, True):
        with pytest.raises(Corrupt, match=r"layers\.py is not what porter wrote"):
            open_net(port, LoadOptions(trust_code=trusted))
    assert not mark.exists()


@pytest.mark.parametrize("unlisted", ["no manifest", "not listed"])
def test_an_unlisted_file_needs_trust(unlisted: str, port: Path) -> None:
    mark, manifest = leaves_a_mark(port), port / "manifest.json"
    body = json.loads(manifest.read_text())
    del body["files"]["layers.py"]
    manifest.write_text(json.dumps(body))
    if unlisted == "no manifest":
        manifest.unlink()
    with pytest.raises(UnsafeFile, match="no manifest beside it lists"):
        open_net(port / "model.keras", LoadOptions("plain"))
    assert not mark.exists()
    open_net(port / "model.keras", LoadOptions("plain", trust_code=True))
    assert mark.exists()


def test_it_is_not_run_for_a_refused_model(port: Path) -> None:
    mark, model = leaves_a_mark(port), port / "model.keras"
    (port / "manifest.json").unlink()
    with zipfile.ZipFile(model) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["config.json"] = content["config.json"].replace(b'"Conv2D"', b'"Lambda"')
    with zipfile.ZipFile(model, "w") as archive:
        for name, each in content.items():
            archive.writestr(name, each)
    with pytest.raises(UnsafeFile, match="known layer of Keras"):
        open_net(model, LoadOptions("plain", trust_code=True))
    assert not mark.exists()


def test_layers_that_are_not_there(port: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that the file does not define: Keras never looks for it elsewhere."""
    registered = tf.keras.utils.get_custom_objects()
    for name in [name for name in registered if name.startswith("porter>")]:
        monkeypatch.delitem(registered, name)
    (port / "manifest.json").unlink()
    (port / "layers.py").write_text("import keras\n")
    with pytest.raises(UsageError, match="lacks layers"):
        open_net(port / "model.keras", LoadOptions("plain", trust_code=True))
    (port / "layers.py").unlink()
    with pytest.raises(UsageError, match="needs the layers"):
        open_net(port / "model.keras", LoadOptions("plain", trust_code=True))


def test_the_command_line_says_which_option(port: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (port / "manifest.json").unlink()
    photo = port.parent / "photo.png"
    shutil.copy("fixtures/trained/oilpaint/coffee.png", photo)
    words = ["stylize", str(port / "model.keras"), str(photo), "-o", str(port.parent / "out.png")]
    assert cli.main([*words, "--preset", "plain", "--image-size", "32"]) == 3
    assert "--trust-code" in capsys.readouterr().err
    assert cli.main([*words, "--preset", "plain", "--image-size", "32", "--trust-code"]) == 0
