"""A whole run: its folder, its port, what can be done with that, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from porter import torch7
from porter.apps.train.session import Session
from porter.apps.train.trainer import Hooks
from porter.cli import main as cli
from porter.conversion.pipeline import convert
from porter.conversion.request import Request
from porter.errors import UsageError
from tests.apps.train.conftest import Make, picture, size_of
from tests.build import FIXTURES

OILPAINT = FIXTURES / "trained" / "oilpaint"


def test_a_run_ends_in_a_port_that_every_command_takes(
    options: Make, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = options(sample_every=3)
    arguments = [
        *("train", "--style_image", settings.style_image, "--descriptor", settings.descriptor),
        *("--data", photos, "-o", settings.output, "--model", "johnson", "--slim", 16),
        *("--image-size", 32, "--style-layers", settings.style_layers, "--style_size", 0),
        *("--content-layers", settings.content_layers, "--num-iterations", 6, "--save-every", 3),
        *("--sample_every", 3, "--json"),
    ]
    assert cli.main(list(map(str, arguments))) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["iterations"] == 6
    assert report["last_losses"]["style"] > 0
    run = settings.output
    names = {path.name for path in run.iterdir()}
    assert {"training.json", "checkpoints", "model.t7", "model_3.t7", "model_6.t7"} <= names
    assert [f.name for f in sorted((run / "samples").iterdir())] == [
        "000000.png",
        "000003.png",
        "000006.png",
    ]
    assert size_of(run / "samples" / "000006.png") == (32, 64)
    assert list((run / "events").iterdir())

    model = run / "model"
    assert cli.main(["diff", str(run / "model.t7"), str(model)]) == 0
    photo = picture(tmp_path / "photo.png", 36, 44, 3)
    assert cli.main(["stylize", str(model), str(photo), "-o", str(tmp_path / "output.png")]) == 0
    assert size_of(tmp_path / "output.png") == (44, 36)
    assert cli.main(["inspect", str(run / "model.t7")]) == 0
    report = json.loads((run / "training.json").read_text())
    assert report["result"]["iterations"] == 6

    # The same command has nothing left to do, and going on from the result is another run.
    again = options(init=run, output=tmp_path / "further", num_iterations=1)
    assert Session(again).trainer.train(Hooks()).iteration == 1


def test_fine_tuning_starts_from_the_port_itself(options: Make) -> None:
    settings = options(init=OILPAINT / "model.t7", learning_rate=1e-7, num_iterations=2)
    session = Session(settings)
    before = session.network.trained(0.0)
    original = torch7.read(OILPAINT / "model.t7").root
    weights = [m.get("weight") for m in original.list("modules")]
    weights_before = [m.get("weight") for m in before.list("modules")]
    for expected, found in zip(weights, weights_before, strict=True):
        if expected is not None:
            assert np.array_equal(expected.array, found.array)
    session.trainer.train(Hooks())
    after = [m.get("weight") for m in session.network.trained(0.0).list("modules")]
    moved = [
        np.abs(a.array - b.array).max()
        for a, b in zip(after, weights_before, strict=True)
        if a is not None and b is not None
    ]
    assert 0 < max(moved) < 1e-6


def test_a_converted_folder_gives_its_weights_to_the_model_that_is_named(
    options: Make, tmp_path: Path
) -> None:
    net = FIXTURES / "nets" / "texture_nets_johnson_slim" / "model.t7"
    port = convert(Request(net, tmp_path / "port")).output
    session = Session(options(init=port, slim=4, image_size=32))
    expected = torch7.read(net).root.list("modules")[1].tensor("weight").array
    found = session.network.trained(0.0).list("modules")[1].tensor("weight").array
    assert np.array_equal(expected, found)
    with pytest.raises(UsageError, match="weights of another architecture"):
        Session(options(init=port, slim=8, output=tmp_path / "other"))


def test_bad_files_are_refused_before_anything_is_written(options: Make, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    small = picture(tmp_path / "small.png", 20, 60, 1)
    torn = tmp_path / "torn.png"
    torn.write_bytes(b"\x89PNG\r\n\x1a\n")
    refused = {
        "no image in": {"data": empty},
        "no folder": {"data": tmp_path / "none"},
        "smaller than the crop of 32×32": {"style_image": small},
        "style image cannot be used": {"style_image": torn},
        "has no layer relu9_9": {"style_layers": "relu9_9"},
        "has no layer relu4_2": {"content_layers": "relu4_2"},
        "no file or folder": {"descriptor": tmp_path / "none.npz"},
        "holds nothing to start from": {"init": empty},
    }
    for said, changed in refused.items():
        with pytest.raises(UsageError, match=said):
            Session(options(**changed))
    assert not options().output.exists()
