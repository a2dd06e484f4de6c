"""Whatever is wrong with a file or an image is reported before the run, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from porter.apps.transfer import open_descriptor, read_recipe, transfer
from porter.apps.transfer.checks import digests
from porter.apps.transfer.images import luminance, prepared, recoloured
from porter.apps.transfer.source import Opening
from porter.cli import main as cli
from porter.errors import (
    Diverged,
    PorterError,
    Truncated,
    UnreadablePicture,
    UsageError,
    WeightError,
)
from porter.imaging.photos import read_image
from porter.system.tensorflow import tf
from tests.apps.transfer import files

LAYERS = ["relu1_1", "relu2_1"]
TINY = {"content_layers": {"relu2_1": 1.0}, "style_layers": {"relu1_1": 1.0}}


def picture(path: Path, array: Any, **options: Any) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def levels(height: int, width: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def refused(path: Path, layers: list[str] | None = None, **options: Any) -> PorterError:
    with pytest.raises(PorterError) as caught:
        open_descriptor(path, layers or LAYERS, **options)
    return caught.value


# Weight files -------------------------------------------------------------------------------------


def test_a_layer_that_does_not_exist_lists_those_that_do(tmp_path: Path) -> None:
    for write in (files.torch_vgg, files.npz, files.caffe_v1, files.keras_weights):
        error = refused(write(tmp_path), ["relu1_1", "relu9_9"])
        assert isinstance(error, UsageError)
        assert "relu9_9" in error.message
        assert "relu3_1" in (error.hint or "")


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.zeros, "all weights are zero"), (np.ones, "the same number"), (np.empty, "not finite")],
)
def test_weights_that_give_a_black_picture(value: Any, message: str, tmp_path: Path) -> None:
    weight = value((3, 3, 8, 12), np.float32)
    weight[...] = np.nan if value is np.empty else weight
    error = refused(files.npz(tmp_path, conv2_1_W=weight))
    assert isinstance(error, WeightError)
    assert message in error.message
    assert "conv2_1" in str(error)


def test_torch_weights_are_looked_at_too(tmp_path: Path) -> None:
    from tests import build
    from tests.write_t7 import write_t7

    conv = build.conv(3, 4, pad=1)
    conv.fields["weight"] = build.lua(np.zeros((4, 3, 3, 3), np.float32))
    path = write_t7(tmp_path / "zero.t7", build.sequential(conv, build.relu()))
    assert "all weights are zero" in refused(path, ["1"], preprocessing="plain").message


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    wide = np.random.default_rng(0).standard_normal((3, 3, 64, 12)).astype(np.float32)
    error = refused(files.npz(tmp_path, conv2_1_W=wide))
    assert "for 64" in error.message
    alien = tmp_path / "resnet.npz"
    np.savez(alien, **{"layer1.0.conv1.weight": wide})
    assert "neither conv1_1 (VGG) nor conv1 (AlexNet)" in refused(alien).message


def test_a_prototxt_of_another_architecture(tmp_path: Path) -> None:
    path = files.caffe_v1(tmp_path)
    text = path.with_suffix(".prototxt").read_text()
    other = tmp_path / "other.prototxt"
    other.write_text(text.replace('name: "conv2_1"', 'name: "conv2_a"'))
    error = refused(path, ["relu2_1"], opening=Opening(prototxt=other))
    assert "no weights of this layer" in error.message
    other.write_text(text.replace("num_output: 12", "num_output: 24", 1))
    assert (
        "not those of the prototxt's layer"
        in refused(path, ["relu2_1"], opening=Opening(prototxt=other)).message
    )
    other.write_text("layer { name ")
    assert "no prototxt" in refused(path, opening=Opening(prototxt=other)).message


@pytest.mark.parametrize("format", ["npz", "npy", "caffe", "h5", "keras", "t7"])
def test_truncated_files(format: str, tmp_path: Path) -> None:
    if format == "keras":
        path = tmp_path / "vgg.keras"
        files.keras_model().save(path)
    else:
        write = {
            "npz": files.npz,
            "npy": files.npy,
            "caffe": files.caffe_v1,
            "h5": files.keras_weights,
            "t7": files.torch_vgg,
        }[format]
        path = write(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    error = refused(path, ["relu3_1"])
    assert isinstance(error, WeightError | Truncated)
    assert error.exit_code == 3
    assert path.name in str(error)
    path.write_bytes(b"")
    assert refused(path).exit_code == 3


@pytest.mark.parametrize(
    "write", [files.npz, files.npy, files.caffe_today, files.keras_weights, files.torch_vgg]
)
def test_damaged_bytes_are_read_or_refused(write: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    path = write(tmp_path)
    whole = path.read_bytes()
    for _ in range(25):
        damaged = bytearray(whole)
        for place in random.integers(min(len(whole), 2000), size=4):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(PorterError):
            open_descriptor(path, ["relu3_1"], preprocessing="imagenet-caffe")


def test_files_of_fully_connected_layers_only(tmp_path: Path) -> None:
    import h5py

    np.savez(tmp_path / "fc.npz", fc6_W=np.ones((4, 4)), fc6_b=np.ones(4))
    with h5py.File(tmp_path / "fc.h5", "w") as file:
        file["fc1/fc1_W:0"] = np.ones((4, 4))
    files.npy(tmp_path, {"fc6": [np.ones((4, 4)), np.ones(4)]}).rename(tmp_path / "fc.npy")
    for name in ("fc.npz", "fc.h5", "fc.npy"):
        assert "fully-connected layers only" in refused(tmp_path / name).message


def test_a_pickle_that_runs_code_runs_none(tmp_path: Path) -> None:
    target = tmp_path / "touched"
    error = refused(files.evil_npy(tmp_path / "evil.npy", target))
    assert "would run code" in error.message
    assert not target.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vgg19.t7", b"<!DOCTYPE html><html>", "web page"),
        ("vgg19.npz", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        ("imagenet-vgg-verydeep-19.mat", b"MATLAB 5.0 MAT-file", "truncated"),
        ("imagenet-vgg-verydeep-19.mat", b"MATLAB 7.3 MAT-file", "MATLAB"),
        ("vgg19.pth", b"\x80\x02\x8a\nl\xfc", "torch.save"),
    ],
)
def test_what_people_download_instead(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    assert message in refused(tmp_path / name).message


def test_theanos_order_of_axes(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "vgg16_weights_th_dim_ordering_th_kernels_notop.h5"
    with h5py.File(path, "w") as file:
        file["block1_conv1/block1_conv1_W:0"] = np.ones((64, 3, 3, 3))
    assert "Theano" in refused(path).message


def test_a_checksum_is_compared(tmp_path: Path) -> None:
    path = files.npz(tmp_path)
    open_descriptor(path, LAYERS, sha256=digests(path)["sha256"])
    assert "not the one" in refused(path, sha256="0" * 64).message


def test_numbers_whose_meaning_is_unknown(tmp_path: Path) -> None:
    error = refused(files.torch_vgg(tmp_path, named=False), ["1"])
    assert "`preprocessing=`" in (error.hint or "")


def test_a_descriptor_that_sees_nothing(tmp_path: Path) -> None:
    low = np.full(8, -1e6, np.float32)
    net = open_descriptor(files.npz(tmp_path, conv1_2_b=low), ["relu1_2"])
    recipe = read_recipe("gatys", content_layers={"relu1_2": 1.0}, style_weight=0.0)
    with pytest.raises(WeightError, match="sees nothing in the content"):
        transfer(levels(16, 16), levels(16, 16), net, recipe)


# Pictures -----------------------------------------------------------------------------------------


def test_pictures_of_any_size_and_mode(tmp_path: Path) -> None:
    net = open_descriptor(files.npz(tmp_path), LAYERS)
    recipe = read_recipe("texture-nets", evaluations=2, **TINY)
    rgb = levels(21, 34)
    grey, alpha = rgb[..., 0], np.dstack([rgb, rgb[..., :1]])
    deep = (rgb[..., 0].astype(np.uint16) << 8).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    contents = {
        "grey": picture(tmp_path / "grey.png", grey),
        "alpha": picture(tmp_path / "alpha.png", alpha),
        "deep": picture(tmp_path / "deep.png", deep),
        "turned": picture(tmp_path / "turned.jpg", rgb, exif=exif),
    }
    for kind, path in contents.items():
        result = transfer(path, levels(9, 50), net, recipe)
        assert result.image.shape == ((34, 21, 3) if kind == "turned" else (21, 34, 3)), kind
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UnreadablePicture):
        transfer(tmp_path / "text.png", rgb, net, recipe)
    with pytest.raises(UsageError, match="does not run on an image of 1×1"):
        transfer(levels(1, 1), rgb, net, recipe)
    with pytest.raises(UsageError, match="uint8 array"):
        transfer(rgb.astype(np.float32), rgb, net, recipe)


def test_a_matched_style_has_the_contents_colours() -> None:
    content, style = levels(20, 24), (levels(18, 30, 1) // 3 + 20).astype(np.uint8)
    _, (output,) = prepared(content, [style], "match")
    target, recolored = (
        content.reshape(-1, 3),
        recoloured(style.astype(float), content).reshape(-1, 3),
    )
    np.testing.assert_allclose(recolored.mean(0), target.mean(0), rtol=1e-6)
    np.testing.assert_allclose(np.cov(recolored.T), np.cov(target.T), rtol=1e-2, atol=1)
    assert output.min() >= 0
    assert output.max() <= 255


def test_luminance_keeps_the_contents_colours(tmp_path: Path) -> None:
    net = open_descriptor(files.npz(tmp_path), LAYERS)
    content = np.zeros((24, 24, 3), np.uint8)
    content[..., 0] = np.linspace(60, 220, 24, dtype=np.uint8)
    recipe = read_recipe("texture-nets", evaluations=8, colour="luminance", **TINY)
    output = transfer(content, levels(24, 24), net, recipe).image.astype(np.float64)
    chroma = output - luminance(output)[..., None]
    expected = content - luminance(content.astype(np.float64))[..., None]
    inside = (output > 0).all(-1) & (output < 255).all(-1)
    np.testing.assert_allclose(chroma[inside], expected[inside], atol=2)


# A loss that is no number -------------------------------------------------------------------------


def failing(tmp_path: Path, after: int) -> Any:
    """A descriptor whose features turn into NaN."""
    net = open_descriptor(files.npz(tmp_path), LAYERS)
    calls = tf.Variable(0)
    inner = net._features

    def features(x: Any) -> Any:
        calls.assign_add(1)
        bad = tf.where(calls > after, float("nan"), 0.0)
        return {name: value + bad for name, value in inner(x).items()}

    net._features = features
    return net


def test_nan_keeps_the_best_picture(tmp_path: Path) -> None:
    recipe = read_recipe("texture-nets", evaluations=20, optimizer="adam", **TINY)
    result = transfer(levels(16, 16), levels(16, 16, 1), failing(tmp_path, 7), recipe)
    # The first two calls describe content and style.
    assert isinstance(result.stopped, Diverged)
    assert "step 6" in result.stopped.message
    assert len(result.history) == 5
    with pytest.raises(Diverged, match="step 1"):
        transfer(levels(16, 16), levels(16, 16, 1), failing(tmp_path, 2), recipe)


# The command --------------------------------------------------------------------------------------


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """A small run."""
    return [
        "transfer",
        f"--content={picture(tmp_path / 'content.png', levels(16, 20))}",
        "--style",
        str(picture(tmp_path / "style.png", levels(12, 12, 1))),
        f"--descriptor={files.npz(tmp_path)}",
        f"--output={tmp_path / 'out.png'}",
        "--recipe=texture-nets",
        "--content-layers=relu2_1",
        "--style-layers=relu1_1=0.5,relu2_1",
        "--evaluations=6",
    ]


def test_the_command_writes_what_it_says(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curve = tmp_path / "curve.png"
    more = [f"--curve={curve}", "--snapshot=3", "--scales=0.5,1", "--json"]
    assert cli.main([*arguments, *more]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["evaluations"] == 6
    assert body["recipe"]["style_layers"] == {"relu1_1": 0.5, "relu2_1": 1.0}
    assert read_image(tmp_path / "out.png").size == (16, 20)
    assert read_image(curve).size == (420, 960)
    assert {path.name for path in tmp_path.glob("out*")} == {
        "out.png",
        "out_00003.png",
        "out_00006.png",
    }


def test_the_command_overwrites_nothing(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "out.png").write_bytes(b"mine")
    assert cli.main(arguments) == 2
    assert (tmp_path / "out.png").read_bytes() == b"mine"
    assert cli.main([*arguments, "--force", "--keep-state"]) == 0
    assert (tmp_path / "out.state.npz").exists()
    (tmp_path / "out.state.npz").unlink()
    assert cli.main(arguments) == 2
    content = f"--output={tmp_path / 'content.png'}"
    assert cli.main([*arguments, content, "--force"]) == 2


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("--recipe=nothing", 2),
        ("--style-layers=relu1_1=x", 2),
        ("--style-layers=relu7_7", 2),
        ("--scales=1,0.5", 2),
        ("--evaluations=0", 2),
        ("--output=nowhere/out.png", 2),
        ("--curve=curve.txt", 2),
        ("--init=missing.png", 2),
        ("--descriptor=missing.npz", 2),
        ("--content=missing.png", 2),
        ("--blend=1,2", 2),
        ("--image-size=0", 2),
        ("--sha256=00", 3),
    ],
)
def test_exit_codes(argument: str, code: int, arguments: list[str], tmp_path: Path) -> None:
    assert cli.main([*arguments, argument]) == code
    assert not list(tmp_path.glob("out*"))


def test_a_state_of_another_run_is_refused(arguments: list[str], tmp_path: Path) -> None:
    assert cli.main([*arguments, "--keep-state"]) == 0
    assert cli.main([*arguments, "--style-weight=7"]) == 2
    (tmp_path / "out.state.npz").write_bytes(b"PK\x03\x04")
    assert cli.main(arguments) == 2
    assert cli.main([*arguments, "--force", "--style-weight=7"]) == 0


def test_the_same_command_goes_on(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `porter train` does: from the state that a run left, also with more evaluations."""
    assert cli.main([*arguments, "--keep-state", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["evaluations"]
    state = tmp_path / "out.state.npz"
    kept = len(np.load(state)["history"])
    assert kept > 0
    assert cli.main([*arguments, f"--evaluations={first + 4}", "--json"]) == 0
    more = json.loads(capsys.readouterr().out)
    assert more["evaluations"] == first + 4
    assert not state.exists()


def test_a_picture_that_does_not_fit_into_memory(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("porter.runtime.memory.available", lambda: 2**20)
    assert cli.main(arguments) == 2
    assert "--image-size" in capsys.readouterr().err
