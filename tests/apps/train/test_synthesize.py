"""Textures: of any size, another for another seed, and without a seam."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from porter.apps.train.generators import generator
from porter.apps.train.options import Architecture
from porter.apps.train.synthesize import Texture, Textures, optimise
from porter.apps.transfer.descriptor import open_descriptor
from porter.cli import main as cli
from porter.errors import UsageError
from porter.imaging.photos import read_image
from porter.torch7.writer import write_t7
from tests.apps.train.conftest import size_of

LAYERS = ("relu1_1", "relu2_1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A texture generator that is not trained; its last layer is amplified."""
    root = generator(Architecture("pyramid", "texture", slim=8), 1)
    root.list("modules")[-2].tensor("weight").array[...] *= 200
    return write_t7(tmp_path / "net.t7", root)


def test_a_generator_makes_textures_of_any_multiple_of_32(file: Path) -> None:
    textures = Textures(file, seed=1)
    assert textures((32, 64)).image.shape == (32, 64, 3)
    assert textures((96, 32)).image.shape == (96, 32, 3)


def test_seed_and_number_choose_the_noise(file: Path) -> None:
    textures = {
        (seed, number): Textures(file, seed)((64, 64), number).image.tobytes()
        for seed in (1, 2)
        for number in (0, 1)
    }
    assert len(set(textures.values())) == 4
    assert Textures(file, 1)((64, 64), 0).image.tobytes() == textures[1, 0]


def test_a_net_without_noise_is_refused(tmp_path: Path) -> None:
    style = write_t7(tmp_path / "style.t7", generator(Architecture("johnson", slim=16), 1))
    with pytest.raises(UsageError, match="draws no noise"):
        Textures(style, seed=1)


def test_the_seam_is_measured() -> None:
    wave = np.sin(np.arange(64) / 64 * 2 * np.pi * 3) * 100 + 128
    tile = np.repeat(np.repeat(wave[None, :, None], 64, axis=0), 3, axis=2)
    assert Texture((tile + tile.transpose(1, 0, 2)) / 2).seam < 2
    ramp = np.repeat(np.arange(64.0)[None, :, None], 64, axis=0)
    assert Texture(np.repeat(ramp + ramp.transpose(1, 0, 2), 3, axis=2)).seam > 60


def test_optimisation_finds_the_style(style: Path, descriptor: Path) -> None:
    levels = read_image(style).pixels
    texture = optimise(open_descriptor(descriptor, LAYERS), levels, LAYERS, (32, 40), 30, seed=1)
    assert texture.image.shape == (32, 40, 3)
    assert texture.losses[-1] < 0.2 * texture.losses[0]
    again = optimise(open_descriptor(descriptor, LAYERS), levels, LAYERS, (32, 40), 30, seed=1)
    assert np.array_equal(texture.image, again.image)


def test_the_command_writes_a_picture(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "t.png"
    arguments = ["synthesize", str(file), "-o", str(target), "--size", "64x96"]
    assert cli.main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seam"] > 0
    assert size_of(target) == (96, 64)
    assert cli.main(arguments) == 2  # It is there already.
    assert cli.main([*arguments, "--force"]) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        ["--size", "12y9"],
        ["--size", "0x9"],
        ["--style-image", "s.png"],
    ],
)
def test_nonsense_is_refused(file: Path, tmp_path: Path, wrong: list[str]) -> None:
    assert cli.main(["synthesize", str(file), "-o", str(tmp_path / "t.png"), *wrong]) == 2
