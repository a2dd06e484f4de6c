"""AdaIN and WCT: a decoder, an encoder and a painting, as Torch ran them."""

from __future__ import annotations

import os
import pickle
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import porter
from porter.apps.stylize import arbitrary_style as arbitrary
from porter.apps.stylize.arbitrary_style import TRANSFORMS, arbitrary_style, features
from porter.apps.stylize.loading import LoadOptions, open_net
from porter.apps.stylize.ray_data import NetOpening
from porter.apps.stylize.whitening import whitening_colouring, with_whitening
from porter.cli import main as cli
from porter.errors import OutOfMemory, UsageError
from porter.frontend.walker import Model
from porter.imaging.photos import read_image
from porter.imaging.pixels import to_net
from porter.ir.fields import Array
from porter.ir.graph import TensorType
from porter.ir.nested import leaves
from porter.ir.options import Options
from porter.layer_maps import default_registry
from porter.runtime import reference
from porter.torch7 import read
from tests.build import FIXTURES, conv, relu, sequential
from tests.write_t7 import write_t7

PIPELINES, ZOO = FIXTURES / "pipelines", FIXTURES / "zoo"
PHOTO, PAINTING = PIPELINES / "photo.png", PIPELINES / "painting.png"
PAGE = FIXTURES.parent / "docs" / "stylize.md"


def part(system: str) -> Path:
    return ZOO / system / "model.t7"


def numbers(decoder: Path, encoder: Path, **choices: object) -> Array:
    """What the net makes of the photo, 3×H×W."""
    style = arbitrary_style(encoder, PAINTING, **choices)  # type: ignore[arg-type]
    net, spec = open_net(decoder, LoadOptions(style=style))
    output: Array = net(to_net(read_image(PHOTO).pixels[None], spec))[0].transpose(2, 0, 1)
    return output


def require_equal(computed: Array, expected: Array, error: float = 1e-5) -> None:
    assert computed.shape == expected.shape
    assert np.abs(computed - expected).max() <= error * np.abs(expected).max()


# Torch's own numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "name"), [(1.0, "whole"), (0.6, "part")])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_painting_s_statistics_make_torch_s_picture(
    transform: str, alpha: float, name: str
) -> None:
    torch = read(PIPELINES / f"{transform}.t7").root[name].array
    decoder, encoder = part(f"{transform}-decoder"), part(f"{transform}-encoder")
    require_equal(numbers(decoder, encoder, transform=transform, alpha=alpha), torch)


def test_decoders_go_on_from_one_another_s_pictures() -> None:
    torch = read(PIPELINES / "wct.t7").root["twice"].array
    decoder = part("wct-decoder")
    computed = numbers(decoder, part("wct-encoder"), transform="wct", then=(decoder,))
    require_equal(computed, torch, 1e-4)


def longer(folder: Path) -> Path:
    """The encoder with what vgg_normalised.t7 has behind relu4_1."""
    root = read(part("adain-encoder")).root
    planes = root.list("modules")[-2].integer("nOutputPlane")
    more = [conv(planes, planes, 3, pad=1), relu(inplace=True), conv(planes, 7, 3)]
    return write_t7(folder / "vgg_normalised.t7", sequential(*root.list("modules"), *more))


def test_an_encoder_is_cut_where_the_decoder_begins(tmp_path: Path) -> None:
    computed = numbers(part("adain-decoder"), longer(tmp_path))
    require_equal(computed, read(PIPELINES / "adain.t7").root["whole"].array)


# The command --------------------------------------------------------------------------------------


def section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.M | re.S)
    assert found
    return found[1]


def test_the_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longer(tmp_path)
    shutil.copy(part("adain-decoder"), tmp_path / "decoder.t7")
    shutil.copy(PAINTING, tmp_path / "painting.jpg")
    (tmp_path / "photos").mkdir()
    shutil.copy(PHOTO, tmp_path / "photos" / "photo.png")
    # One width of slim nets does for all levels.
    for level in (5, 4, 3, 2, 1):
        shutil.copy(part("wct-encoder"), tmp_path / f"vgg_normalised_conv{level}_1.t7")
        shutil.copy(part("wct-decoder"), tmp_path / f"feature_invertor_conv{level}_1.t7")
    shutil.copy(part("colourisation-iizuka"), tmp_path / "colornet.t7")
    monkeypatch.chdir(tmp_path)
    page = section("Any painting's style") + section("Colours for grey pictures")
    commands = re.findall(r"^porter ((?:.*\\\n)*.*)", page, re.M)
    assert len(commands) >= 3
    for command in commands:
        words = shlex.split(command.replace("\\\n", " "))
        assert cli.main(words) == 0, command
        output = Path(words[words.index("-o") + 1])
        assert [each.name for each in output.iterdir()] == ["photo.png"]


def test_pictures_are_torch_s_levels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = read(PIPELINES / "adain.t7").root["whole"].array
    words = ["stylize", part("adain-decoder"), PHOTO, "-o", tmp_path / "out.png"]
    words += ["--encoder", part("adain-encoder"), "--style", PAINTING]
    assert cli.main([str(word) for word in words]) == 0
    expected = np.rint(np.clip(torch * 255, 0, 255)).transpose(1, 2, 0)
    with Image.open(tmp_path / "out.png") as opened:
        apart = np.abs(np.asarray(opened) - expected)
    assert apart.max() <= 1
    assert np.count_nonzero(apart) <= 1e-3 * apart.size
    assert "adain of painting.png, by modules 1-31 of model.t7" in " ".join(
        capsys.readouterr().out.split()
    )


def test_from_python(tmp_path: Path) -> None:
    done = porter.stylize(
        part("wct-decoder"),
        PHOTO,
        tmp_path / "out.png",
        encoder=part("wct-encoder"),
        style=PAINTING,
        transform="wct",
        style_size=40,
        then=part("wct-decoder"),
    )
    assert done.written == 1


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_large_pictures_go_through_in_bands(transform: str) -> None:
    decoder, encoder = part(f"{transform}-decoder"), part(f"{transform}-encoder")
    style = arbitrary_style(encoder, PAINTING, transform)
    net, spec = open_net(decoder, LoadOptions(style=style))
    x = to_net(read_image(PHOTO).pixels[None], spec)
    bands = net.bands(*x.shape[1:3])
    assert bands is not None
    require_equal(bands.run(x, 10), net(x))


def test_large_paintings_go_through_in_bands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arbitrary, "SMALL", 0)
    monkeypatch.setattr("porter.runtime.memory.available", lambda: 600_000)
    computed = numbers(part("adain-decoder"), part("adain-encoder"))
    require_equal(computed, read(PIPELINES / "adain.t7").root["whole"].array)
    monkeypatch.setattr("porter.runtime.memory.available", lambda: 10_000)
    with pytest.raises(OutOfMemory, match="a painting of 72×60"):
        numbers(part("adain-decoder"), part("adain-encoder"))


def test_a_worker_opens_the_same_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    style = arbitrary_style(part("adain-encoder"), Path(os.path.relpath(PAINTING)), alpha=0.6)
    assert style is not None
    opening = NetOpening(part("adain-decoder"), style=style.absolute())
    monkeypatch.chdir(tmp_path)
    net, spec = pickle.loads(pickle.dumps(opening)).open()
    output = net(to_net(read_image(PHOTO).pixels[None], spec))[0].transpose(2, 0, 1)
    require_equal(output, read(PIPELINES / "adain.t7").root["part"].array)


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decoder", "encoder", "message"),
    [
        ("adain-decoder", "wct-encoder", "no decoder for model.t7"),
        ("adain-decoder", "wct-decoder", "no encoder of pictures"),
        ("adain-encoder", "adain-encoder", "no decoder for"),
    ],
)
def test_nets_that_do_not_go_together_are_refused(decoder: str, encoder: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        numbers(part(decoder), part(encoder))


@pytest.mark.parametrize("system", ["adain-decoder", "adain-encoder"])
def test_half_a_net_asks_for_the_other_half(system: str) -> None:
    with pytest.raises(UsageError, match="and no pictures") as error:
        open_net(part(system), LoadOptions())
    assert 'name the decoder, and add `encoder="FILE"`' in str(error.value)


def test_an_encoder_that_is_fed_other_numbers_needs_a_preset(tmp_path: Path) -> None:
    encoder = write_t7(tmp_path / "vgg.t7", sequential(conv(3, 8, 3, pad=1), relu()))
    decoder = write_t7(tmp_path / "decoder.t7", sequential(conv(8, 3, 3, pad=1)))
    with pytest.raises(UsageError, match="does not tell how pictures become its numbers"):
        numbers(decoder, encoder)
    style = arbitrary_style(encoder, PAINTING)
    net, spec = open_net(decoder, LoadOptions(preset="texture-nets", style=style))
    assert spec.preset.name == "texture-nets"
    assert net(to_net(read_image(PHOTO).pixels[None], spec)).shape[-1] == 3


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"painting": None}, "needs an encoder and a painting"),
        ({"encoder": None}, "needs an encoder and a painting"),
        ({"encoder": None, "painting": None, "alpha": 0.5}, "needs an encoder and a painting"),
        ({"transform": "gram"}, "transforms: adain, wct"),
        ({"alpha": 1.5}, "between 0, the photo, and 1"),
        ({"alpha": float("nan")}, "between 0, the photo, and 1"),
        ({"size": 0}, "at least 1"),
    ],
)
def test_options_that_ask_for_no_style_are_refused(
    choices: dict[str, object], message: str
) -> None:
    both: dict[str, object] = {"encoder": Path("a.t7"), "painting": PAINTING}
    with pytest.raises(UsageError, match=message):
        arbitrary_style(**(both | choices))  # type: ignore[arg-type]


def test_the_command_offers_every_transform() -> None:
    (parser,) = [p for p in cli.subcommands(cli.parser("stylize")) if p.prog.endswith("stylize")]
    (choices,) = [each.choices for each in parser._actions if each.dest == "transform"]
    assert choices is not None
    assert list(choices) == list(TRANSFORMS)


# Whitening ----------------------------------------------------------------------------------------


def whitened(style: Array, x: Array) -> Array:
    """Features with the style's statistics, by TensorFlow, which agrees with the reference."""
    root, registry = sequential(whitening_colouring(style)), with_whitening(default_registry())
    computed = np.stack([features(root, each[None], registry, Options()) for each in x])
    graph = Model(root, registry, Options()).walk(TensorType(x.shape))
    (fed,), (output,) = leaves(graph.inputs), leaves(graph.outputs)
    expected = reference.run(graph, {fed.id: x.astype(np.float64)})[output.id]
    np.testing.assert_allclose(computed, expected, atol=1e-4 * np.abs(expected).max())
    return computed


def test_features_get_the_mean_and_covariance_of_the_style() -> None:
    random = np.random.default_rng(3)
    style = np.tensordot(random.standard_normal((4, 4)), random.standard_normal((4, 9, 8)), 1)
    x = random.standard_normal((2, 4, 7, 11)).astype(np.float32)
    for each in whitened(style, x):
        flat, expected = each.reshape(4, -1), style.reshape(4, -1)
        np.testing.assert_allclose(flat.mean(1), expected.mean(1), atol=1e-5)
        np.testing.assert_allclose(np.cov(flat), np.cov(expected), rtol=1e-4, atol=1e-4)


def test_directions_without_variance_are_left_out() -> None:
    """Fewer positions than planes: most eigenvalues are zero, and none is divided by."""
    random = np.random.default_rng(4)
    x = random.standard_normal((1, 16, 2, 3)).astype(np.float32)
    output = whitened(random.standard_normal((16, 20, 20)), x)
    assert np.abs(output).max() < 100
