"""`porter stylize`, end to end and in parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import porter
from porter import Conversion
from porter.apps.stylize import stylize as stylizing
from porter.apps.stylize.loading import LoadOptions, open_net
from porter.apps.stylize.runners import Net, mixes
from porter.apps.stylize.stylize import Stylization, StylizeSettings, stylize
from porter.cli import main as cli
from porter.errors import EmitError, PorterError, UsageError
from porter.imaging.files import pairs
from porter.imaging.geometry import Geometry
from porter.imaging.image_spec import ImageSpec
from porter.imaging.presets import BUILT_IN
from porter.ir.fields import Array
from porter.ir.options import Options
from porter.torch7 import TorchObject
from tests.build import FIXTURES, classifier, conv, sequential, small_net, torch_module
from tests.imaging.nets import OILPAINT, skipping, waifu2x
from tests.write_t7 import write_t7

PHOTOS = ("chelsea", "coffee", "astronaut")
TEXT = FIXTURES / "nets" / "temporal_convnet_text" / "model.t7"


class Negative(Net):
    """Turns light to dark; remembers what it was fed."""

    def __init__(self, batch: int | None = None) -> None:
        self.shape = (batch, None, None, 3)
        self.fed: list[tuple[int, ...]] = []

    def run(self, x: Array) -> Array:
        self.fed.append(x.shape)
        if x.shape[1] == 13:
            raise ValueError("thirteen\nrows")
        negative: Array = 1 - x
        return negative


PLAIN = ImageSpec(BUILT_IN["plain"], Geometry(), "asked for")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five photographs, three of one size, and a file that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, height in (("a", 9), ("b", 9), ("c", 9), ("d", 11), ("e", 9)):
        levels = random.integers(0, 256, (height, 10, 3), dtype=np.uint8)
        Image.fromarray(levels).save(folder / f"{name}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def run(net: Net, photos: Path, **settings: Any) -> Stylization:
    found = pairs([str(photos)], photos.parent / "out", settings.pop("compare", False))
    return stylize(net, PLAIN, found, StylizeSettings(**settings))


def stylized(*arguments: Any) -> int:
    return cli.main(["stylize", *map(str, arguments)])


def levels(path: Path) -> Array:
    with Image.open(path) as opened:
        return np.asarray(opened)


# Torch's own pictures -----------------------------------------------------------------------------


def require_torch_s(folder: Path) -> None:
    """At most 0.01 % of the levels differ from Torch's, by one."""
    for name in PHOTOS:
        apart = np.abs(
            levels(folder / f"{name}.png").astype(int) - levels(OILPAINT / f"{name}.torch.png")
        )
        assert apart.max() <= 1
        assert np.count_nonzero(apart) <= 1e-4 * apart.size


def test_a_torch_file_makes_torch_s_pictures(tmp_path: Path) -> None:
    photos = [OILPAINT / f"{name}.png" for name in PHOTOS]
    assert stylized(OILPAINT / "model.t7", *photos, "-o", tmp_path / "out") == 0
    require_torch_s(tmp_path / "out")


def test_a_converted_folder_makes_torch_s_pictures(oilpaint: Conversion, tmp_path: Path) -> None:
    photos = [OILPAINT / f"{name}.png" for name in PHOTOS]
    assert stylized(oilpaint.output, *photos, "-o", tmp_path / "out") == 0
    require_torch_s(tmp_path / "out")


# Batches ------------------------------------------------------------------------------------------


def test_neighbours_of_one_size_go_together(photos: Path) -> None:
    net = Negative()
    done = run(net, photos, batch=2)
    # The first two calls see whether the pictures of a batch mix.
    assert [shape[:2] for shape in net.fed[2:]] == [(2, 9), (1, 9), (1, 11), (1, 9)]
    assert [result.source.name[0] for result in done.results if not result.error] == list("abcde")
    image = levels(photos.parent / "out" / "b.png").astype(int)
    np.testing.assert_array_equal(image, 255 - levels(photos / "b.png").astype(int))


def test_large_photos_go_alone(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stylizing, "BATCH_PIXELS", 100)
    net = Negative()
    run(net, photos)
    assert {shape[0] for shape in net.fed[2:]} == {1}


def test_a_fixed_batch_is_filled(photos: Path) -> None:
    net = Negative(batch=2)
    done = run(net, photos)
    assert {shape[0] for shape in net.fed} == {2}
    assert len(done.results) - len(done.failed) == 5


def test_batch_statistics_mix_pictures(tmp_path: Path) -> None:
    ones, zeros = np.ones(3, np.float32), np.zeros(3, np.float32)
    statistics = {"weight": ones, "bias": zeros, "running_mean": zeros, "running_var": ones}
    as_saved = LoadOptions("plain", options=Options("as-saved"))
    for training in (True, False):
        norm = torch_module("nn.SpatialBatchNormalization", **statistics, eps=1e-5, train=training)
        root = sequential(conv(3, 3, pad=1), norm)
        net, _ = open_net(write_t7(tmp_path / "net.t7", root), as_saved)
        assert mixes(net, 3, 8) is training


# What goes wrong ----------------------------------------------------------------------------------


def test_a_broken_photo_is_told_and_the_others_go_on(photos: Path) -> None:
    done = run(Negative(), photos)
    assert done.exit_code == 3
    (failed,) = done.failed
    assert failed.source.name == "broken.png"
    assert sorted(file.name for file in (photos.parent / "out").iterdir()) == [
        f"{name}.png" for name in "abcde"
    ]


def test_a_size_that_the_net_refuses_is_reported(photos: Path) -> None:
    Image.new("RGB", (5, 13)).save(photos / "f.png")
    done = run(Negative(), photos)
    error = done.failed[-1].error
    assert error is not None
    assert error.exit_code == 4
    assert "13×5" in error.message
    assert error.received == "thirteen"


def test_a_disk_that_cannot_be_written_ends_the_run(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *rest: Any) -> None:
        raise EmitError(f"{path} cannot be written: No space left on device")

    monkeypatch.setattr(stylizing, "write_image", full)
    with pytest.raises(EmitError, match="No space"):
        run(Negative(), photos)


@pytest.mark.parametrize(
    ("root", "preset", "message"),
    [
        (sequential(conv(3, 3)), None, "does not tell how pictures become"),
        (small_net(), None, "makes .* of pictures .*, and no pictures\n.*or, where it is half of "),
        (small_net(), "plain", "makes 2"),
        (classifier(), None, "makes 2×5 of pictures .*, and no pictures\n.*`porter convert "),
        (classifier(), "imagenet-torch", "no picture to write"),
        (classifier(), "plain", "one picture"),
    ],
)
def test_models_that_make_no_pictures(
    tmp_path: Path, root: TorchObject, preset: str | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        open_net(write_t7(tmp_path / "net.t7", root), LoadOptions(preset))


def test_a_model_of_text_takes_no_pictures() -> None:
    with pytest.raises(UsageError, match="takes 2×32, and no pictures"):
        open_net(TEXT, LoadOptions())


@pytest.fixture
def converted_folder(tmp_path: Path) -> Path:
    """A folder with a manifest, and no model that anything could load."""
    folder = tmp_path / "port"
    folder.mkdir()
    (folder / "model.tflite").write_bytes(b"no flat buffer")
    return folder


@pytest.mark.parametrize(
    ("manifest", "preset", "message"),
    [
        (None, None, "does not tell"),
        ({"pictures": None}, None, "does not tell"),
        ({"pictures": {"preset": {}}}, None, "cannot be read|needs a table"),
        (None, "plain", "model.tflite cannot be loaded"),
    ],
)
def test_a_folder_that_is_no_port(
    converted_folder: Path, manifest: Any, preset: str | None, message: str
) -> None:
    if manifest is not None:
        (converted_folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PorterError, match=message):
        open_net(converted_folder, LoadOptions(preset))


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no converted model"):
        open_net(tmp_path, LoadOptions("plain"))


def test_a_folder_with_a_torch_model_names_the_file() -> None:
    folder = FIXTURES / "trained" / "oilpaint"
    with pytest.raises(UsageError, match=f"name {folder / 'model.t7'} in its place"):
        open_net(folder, LoadOptions())


def test_a_converted_classifier_says_what_it_is(tmp_path: Path, no_reload: None) -> None:
    source = FIXTURES / "zoo" / "nin-imagenet" / "model.t7"
    porter.convert(source, output=tmp_path / "port")
    with pytest.raises(UsageError, match="the net looks like Network in Network"):
        open_net(tmp_path / "port", LoadOptions())


def test_a_converted_net_without_a_preset_keeps_the_sizes_that_it_takes(
    photos: Path, tmp_path: Path, no_reload: None
) -> None:
    source = FIXTURES / "nets" / "unet_nested_concat" / "model.t7"
    done = porter.convert(source, output=tmp_path / "port")
    assert "height and width in multiples of 16" in done.summary()
    net, spec = open_net(tmp_path / "port", LoadOptions("plain"))
    assert spec.geometry.multiple == 16
    planned = pairs([str(photos)], tmp_path / "out")
    (broken,) = stylize(net, spec, planned, StylizeSettings()).failed
    assert broken.source.name.startswith("broken")


def test_a_preset_that_contradicts_a_converted_net(oilpaint: Conversion) -> None:
    with pytest.raises(UsageError, match="N×H×W×1"):
        open_net(oilpaint.output, LoadOptions("waifu2x-y"))


# What the user sees -------------------------------------------------------------------------------


def test_json_tells_everything(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_t7(tmp_path / "net.t7", skipping())
    out = tmp_path / "out"
    options = ("--preset", "plain", "--json", "--compare", "--image-size", 7)
    assert stylized(model, photos, "-o", out, *options) == 3
    summary = json.loads(capsys.readouterr().out)
    assert summary["failed"] == 1
    first, *_ = summary["pictures"]
    assert first["input_size"] == first["output_size"] == {"height": 6, "width": 7}
    assert first["notes"] == [
        "its edge repeated up to 6×8, since the net takes multiples of 2, and cut again"
    ]
    assert levels(out / "a_compare.png").shape == (6, 7 + 8 + 7, 3)


def test_enlarged_pictures_and_cropped_ones(photos: Path, tmp_path: Path) -> None:
    model = write_t7(tmp_path / "net.t7", waifu2x())
    assert stylized(model, photos / "a.png", "-o", tmp_path / "x.png") == 0
    assert levels(tmp_path / "x.png").shape == (18, 20, 3)
    options = ("--crop", "--force")
    assert stylized(model, photos / "a.png", "-o", tmp_path / "x.png", *options) == 0
    assert levels(tmp_path / "x.png").shape == (9, 10, 3)


@pytest.mark.parametrize("option", ["--image-size", "--batch"])
def test_sizes_that_are_none_are_refused(tmp_path: Path, option: str) -> None:
    assert stylized(OILPAINT / "model.t7", TEXT, "-o", tmp_path / "x.png", option, 0) == 2


def test_a_photo_is_scaled_for_a_net_of_one_size(photos: Path) -> None:
    fixed = ImageSpec(BUILT_IN["plain"], Geometry(), "asked for").for_size((8, 8))
    found = pairs([str(photos / "a.png")], photos.parent / "x.png")
    done = stylize(Negative(), fixed, found, StylizeSettings())
    assert done.results[0].output_size == (8, 8)
    assert done.results[0].notes == ("scaled to 8×8, the only size that the net takes",)
