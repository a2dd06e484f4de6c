"""What a file tells of its pictures, and presets that contradict it."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from porter.errors import UsageError
from porter.frontend.model_file import open_model
from porter.imaging.geometry import Geometry
from porter.imaging.image_spec import from_json
from porter.imaging.presets import BUILT_IN
from porter.layer_maps import default_registry
from porter.torch7 import TorchObject
from porter.torch7.build import convolution
from tests.build import (
    FIXTURES,
    classifier,
    conv,
    graph_module,
    graph_node,
    link,
    sequential,
    small_net,
    table,
    torch_module,
)
from tests.imaging.nets import OILPAINT, full_conv, meaning_for, opened, skipping, waifu2x
from tests.write_t7 import write_t7


def nngraph_generator(last: str, *between: TorchObject) -> TorchObject:
    """pix2pix's frame: an nn.gModule that ends with a transfer function."""
    inner = [None, conv(3, 3, pad=1), *between, torch_module(last), None]
    nodes = [graph_node(module) for module in inner]
    for source, reader in itertools.pairwise(nodes):
        link(source, reader)
    return graph_module(*nodes)


def checkpoint(folder: Path, root: TorchObject, **options: str) -> Path:
    """A checkpoint as fast-neural-style writes it."""
    return write_t7(folder / "checkpoint.t7", table(model=root, opt=table(**options)))


# Detection ----------------------------------------------------------------------------------------


def test_texture_nets_is_told_by_its_classes() -> None:
    detected = meaning_for(open_model(OILPAINT / "model.t7", default_registry()))
    assert detected is not None
    assert detected.preset is BUILT_IN["texture-nets"]
    assert "nn.TVLoss" in detected.why
    assert detected.geometry == Geometry()


@pytest.mark.parametrize(("behind", "preset"), [((), "texture-nets"), (("nn.Tanh",), None)])
def test_replicated_borders_tell_texture_nets_unless_a_tanh_ends_the_net(
    tmp_path: Path, behind: tuple[str, ...], preset: str | None
) -> None:
    root = sequential(
        torch_module("nn.SpatialReplicationPadding", pad_l=1, pad_r=1, pad_t=1, pad_b=1),
        conv(3, 3),
        torch_module("nn.InstanceNormalization", nOutput=3, eps=1e-5),
        *map(torch_module, behind),
    )
    detected = meaning_for(opened(root, tmp_path))
    assert (detected.preset.name if detected else None) == preset


@pytest.mark.parametrize("method", ["vgg", "resnet"])
def test_fast_neural_style_is_told_by_its_checkpoint(tmp_path: Path, method: str) -> None:
    root = sequential(conv(3, 3, pad=1))
    detected = meaning_for(
        open_model(checkpoint(tmp_path, root, preprocessing=method), default_registry())
    )
    assert detected is not None
    assert detected.preset is BUILT_IN[f"fast-neural-style-{method}"]


def test_fast_neural_style_without_a_word_is_vgg(tmp_path: Path) -> None:
    root = sequential(conv(3, 3, pad=1), torch_module("nn.TotalVariation", strength=1e-6))
    detected = meaning_for(
        open_model(checkpoint(tmp_path, root, arch="c9s1-32"), default_registry())
    )
    assert detected is not None
    assert detected.preset is BUILT_IN["fast-neural-style-vgg"]


def test_waifu2x_is_told_by_its_model(tmp_path: Path) -> None:
    detected = meaning_for(opened(waifu2x(), tmp_path))
    assert detected is not None
    assert detected.preset is BUILT_IN["waifu2x-rgb"]
    assert detected.geometry == Geometry(scale=2, margin=8, flat=True)


def test_pix2pix_is_an_nngraph_that_ends_with_tanh(tmp_path: Path) -> None:
    detected = meaning_for(opened(nngraph_generator("nn.Tanh"), tmp_path))
    assert detected is not None
    assert detected.preset is BUILT_IN["pix2pix"]


def test_cyclegan_is_one_that_normalises_each_picture(tmp_path: Path) -> None:
    normalised = torch_module("nn.InstanceNormalization", nOutput=3, eps=1e-5)
    detected = meaning_for(opened(nngraph_generator("nn.Tanh", normalised), tmp_path))
    assert detected is not None
    assert detected.preset is BUILT_IN["cyclegan"]


def with_mean(mean: tuple[float, ...], back: tuple[float, ...]) -> TorchObject:
    """A net that takes a mean off and adds another, as NTIRE2017's nets do."""
    eye = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
    first, last = -np.asarray(mean, np.float32), np.asarray(back, np.float32)
    return sequential(convolution(eye, first), conv(3, 3, pad=1), convolution(eye, last))


DIV2K = (0.4488, 0.4371, 0.4040)


@pytest.mark.parametrize(
    ("mean", "back", "preset"),
    [
        (tuple(255 * each for each in DIV2K), tuple(255 * each for each in DIV2K), "edsr"),
        (DIV2K, DIV2K, "plain"),
        ((114.0, 111.0, 103.0), (103.0, 111.0, 114.0), None),
        ((-114.0, 111.0, 103.0), (-114.0, 111.0, 103.0), None),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), None),
    ],
)
def test_a_mean_that_is_taken_off_and_put_back_tells_the_range(
    tmp_path: Path, mean: tuple[float, ...], back: tuple[float, ...], preset: str | None
) -> None:
    detected = meaning_for(opened(with_mean(mean, back), tmp_path))
    assert (detected.preset.name if detected else None) == preset


def test_the_mean_and_deviation_of_drawings_are_the_file_s(tmp_path: Path) -> None:
    path = write_t7(tmp_path / "d.t7", table(model=sequential(conv(1, 1)), mean=0.9, std=0.25))
    detected = meaning_for(open_model(path, default_registry(), "model"))
    assert detected is not None
    assert detected.preset.name == "sketch-simplification"
    assert (detected.preset.input.mean, detected.preset.input.std) == ((0.9,), (0.25,))
    asked = meaning_for(open_model(path, default_registry(), "model"), "sketch-simplification")
    assert asked == detected


def test_a_preset_that_the_file_contradicts_is_used_with_a_warning(tmp_path: Path) -> None:
    mean = tuple(255 * each for each in DIV2K)
    net = opened(with_mean(mean, mean), tmp_path)
    plain, own = meaning_for(net, "plain"), meaning_for(net, "edsr")
    assert plain is not None
    assert plain.preset.name == "plain"
    assert "the file tells edsr" in plain.warning
    assert own is not None
    assert own.warning == ""
    (tmp_path / "mine.toml").write_text("[input]\nrange = [0, 1]\n[output]\n")
    mine = meaning_for(net, str(tmp_path / "mine.toml"))
    assert mine is not None
    assert mine.warning == ""


@pytest.mark.parametrize("root", [small_net(), classifier(), nngraph_generator("nn.Sigmoid")])
def test_nothing_is_guessed(tmp_path: Path, root: TorchObject) -> None:
    assert meaning_for(opened(root, tmp_path)) is None


def test_detection_can_be_switched_off() -> None:
    assert meaning_for(open_model(OILPAINT / "model.t7", default_registry()), "none") is None


# Geometry -----------------------------------------------------------------------------------------


def test_a_skip_connection_needs_a_multiple(tmp_path: Path) -> None:
    detected = meaning_for(opened(skipping(), tmp_path), "plain")
    assert detected is not None
    assert detected.geometry == Geometry(multiple=2)


def halving(times: int) -> TorchObject:
    """Halves a picture again and again, and doubles it as often."""
    down = [conv(3, 3, kernel=4, stride=2, pad=1) for _ in range(times)]
    up = [full_conv(3, 3) for _ in range(times)]
    return sequential(*down, *up)


@pytest.mark.parametrize("times", [5, 6, 7, 8])
def test_strides_larger_than_the_multiple_do_not_bend_the_scale(tmp_path: Path, times: int) -> None:
    detected = meaning_for(opened(halving(times), tmp_path), "plain")
    assert detected is not None
    assert (detected.geometry.scale, detected.geometry.margin) == (1, 0)


def test_an_encoder_that_halves_eight_times_takes_multiples_of_256(tmp_path: Path) -> None:
    detected = meaning_for(opened(halving(8), tmp_path), "plain")
    assert detected is not None
    assert detected.geometry == Geometry(multiple=256)


def test_a_meaning_survives_the_manifest(tmp_path: Path) -> None:
    detected = meaning_for(opened(classifier(), tmp_path), "imagenet-torch")
    assert detected is not None
    assert detected.geometry.size == (8, 8)
    assert from_json(detected.json()) == detected


# Contradictions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("root", "choice", "message"),
    [
        (sequential(conv(1, 3)), "plain", "3 plane.*takes 1"),
        (sequential(conv(3, 1)), "plain", "3 plane.*makes 1"),
        (sequential(conv(1, 1)), "texture-nets", "3 plane.*takes 1"),
        (sequential(conv(3, 3)), "imagenet-torch", "classifiers.*2×3"),
        (classifier(), "plain", "one picture.*2×5"),
        (sequential(conv(3, 3, pad=1)), "vgg", "no preset"),
    ],
)
def test_a_preset_that_contradicts_the_net(
    tmp_path: Path, root: TorchObject, choice: str, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        meaning_for(opened(root, tmp_path), choice)
    assert re.search(message, str(caught.value), re.DOTALL)


def test_a_net_without_pictures() -> None:
    file = open_model(FIXTURES / "nets" / "temporal_convnet_text" / "model.t7", default_registry())
    with pytest.raises(UsageError, match="nets that take images"):
        meaning_for(file, "plain")


def test_colours_of_the_photo_are_not_enlarged(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not enlarge"):
        meaning_for(opened(sequential(full_conv(1, 1)), tmp_path), "waifu2x-y")


def test_a_preset_that_was_only_detected_does_not_stand_in_the_way(tmp_path: Path) -> None:
    enlarging = sequential(full_conv(1, 1))
    enlarging.fields["w2nn_channels"] = 1.0
    assert meaning_for(opened(enlarging, tmp_path)) is None
    with pytest.raises(UsageError, match="does not enlarge"):
        meaning_for(opened(enlarging, tmp_path), "waifu2x-y")
