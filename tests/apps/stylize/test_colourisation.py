"""Colours for grey pictures, as colorize.lua computes them in Torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from porter.apps.stylize import memory
from porter.apps.stylize.colourisation import coloured
from porter.apps.stylize.loading import LoadOptions, open_net
from porter.cli import main as cli
from porter.errors import BadField, OutOfMemory, UsageError
from porter.imaging.photos import read_image
from porter.imaging.pixels import to_net
from porter.ir.fields import Array
from porter.torch7 import Table, read
from tests.build import FIXTURES
from tests.write_t7 import write_t7

MODEL = FIXTURES / "zoo" / "colourisation-iizuka" / "model.t7"
PHOTO = FIXTURES / "pipelines" / "photo.png"
TORCH: Table = read(FIXTURES / "pipelines" / "colourisation.t7").root


def require_equal(computed: Array, expected: Array, error: float) -> None:
    """Within an error in units of the largest magnitude."""
    assert computed.shape == expected.shape
    assert np.abs(computed - expected).max() <= error * np.abs(expected).max()


def test_the_net_s_colours_are_torch_s_at_any_size() -> None:
    net, spec = open_net(MODEL, LoadOptions())
    assert spec.preset.name == "colourisation"
    x = to_net(read_image(PHOTO).pixels[None], spec)
    for _ in range(2):  # the second time with the net that the first has left
        computed = net(x)[0].transpose(2, 0, 1)
        require_equal(computed, TORCH["output"].array, 1e-4)
        net(x[:, :40, :33])
    # The same with Torch's own output of the net, whose rounding the colours amplify.
    require_equal(coloured(x[..., 0], TORCH["predicted"].array), TORCH["output"].array, 1e-5)


def test_the_command_writes_colours(tmp_path: Path) -> None:
    with Image.open(PHOTO) as photo:
        photo.convert("L").save(tmp_path / "grey.png")
    words = ["stylize", MODEL, tmp_path / "grey.png", PHOTO, "-o", tmp_path / "out"]
    assert cli.main([str(word) for word in words]) == 0
    expected = np.rint(np.clip(TORCH["output"].array * 255, 0, 255)).transpose(1, 2, 0)
    with Image.open(tmp_path / "out" / "photo.png") as opened:
        apart = np.abs(np.asarray(opened) - expected)
    assert apart.max() <= 1
    with Image.open(tmp_path / "out" / "grey.png") as opened:
        assert np.ptp(np.asarray(opened), axis=-1).max() > 100


def test_a_picture_that_does_not_fit_is_refused_before_it_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net, _ = open_net(MODEL, LoadOptions())
    # The widest layer of the slim net: two planes of a quarter of the pixels, and what it reads.
    assert net.activations(1200, 1600, 1) >= 3 * 600 * 800 * 4
    monkeypatch.setattr("porter.runtime.memory.available", lambda: 2**25)
    with pytest.raises(OutOfMemory, match="1200×1600 takes about") as error:
        memory.require_room(net, 1200, 1600)
    assert "run from its .t7" not in str(error.value.hint)


def test_no_preset_takes_the_place_of_the_script() -> None:
    with pytest.raises(UsageError, match="the preset plain is for nets that take images"):
        open_net(MODEL, LoadOptions("plain"))


def test_a_mean_that_is_no_number_is_refused(tmp_path: Path) -> None:
    root = read(MODEL).root
    root.items["mean"] = "grey"
    with pytest.raises(BadField, match="should be a number"):
        open_net(write_t7(tmp_path / "colornet.t7", root), LoadOptions())
