"""Many photos by several runs: each once, and only what is left by a run that goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from porter.apps.stylize.shards import Shard, shard_of
from porter.cli import main as cli
from porter.errors import UsageError
from porter.imaging.files import pairs
from tests.build import conv, sequential
from tests.write_t7 import write_t7

COUNT = 11


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(COUNT):
        levels = np.full((8, 8, 3), number * 20, np.uint8)
        Image.fromarray(levels).save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """Planes in, planes out: three of them."""

    return write_t7(tmp_path / "net.t7", sequential(conv(3, 3, 3, pad=1)))


def stylize(net: Path, photos: Path, out: Path, *more: str) -> int:
    arguments = ["stylize", net, photos, "-o", out, "--preset", "plain", *more]
    return cli.main(list(map(str, arguments)))


def done(out: Path, shard: Shard) -> list[str]:
    """Photos in a shard's record."""
    lines = (out / shard.record).read_text(encoding="utf-8").splitlines()
    return [Path(json.loads(line)["input"]).name for line in lines]


def test_shards_together_write_every_picture_once(net: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert stylize(net, photos, out, "--shard", "1/2") == 0
    assert stylize(net, photos, out, "--shard", "2/2") == 0
    first, second = done(out, Shard(1, 2)), done(out, Shard(2, 2))
    assert len(first) == 6
    assert len(second) == 5
    assert sorted(first + second) == [f"{number:02d}.png" for number in range(COUNT)]
    assert len(list(out.glob("*.png"))) == COUNT


def test_a_run_that_goes_on_makes_only_what_is_left(
    net: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, shard = tmp_path / "out", Shard(1, 2)
    assert stylize(net, photos, out, "--shard", "1/2") == 0
    record = out / shard.record
    lines = record.read_text(encoding="utf-8").splitlines(keepends=True)
    # Killed after the fourth picture was written, while its line was.
    record.write_text("".join(lines[:3]) + lines[3][:20], encoding="utf-8")
    for line in lines[4:]:
        Path(json.loads(line)["output"]).unlink()
    before = {file: file.stat().st_mtime_ns for file in out.glob("*.png")}
    capsys.readouterr()
    assert stylize(net, photos, out, "--shard", "1/2", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert len(summary["pictures"]) == 3
    assert sorted(done(out, shard)) == sorted({*done(out, shard)})
    assert len(done(out, shard)) == 6
    outputs = [json.loads(line)["output"] for line in lines[:3]]
    assert all(Path(name).stat().st_mtime_ns == before[Path(name)] for name in outputs)


def test_a_photo_that_changed_is_made_again(
    net: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert stylize(net, photos, out, "--shard", "1/1") == 0
    Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(photos / "03.png")
    capsys.readouterr()
    assert stylize(net, photos, out, "--shard", "1/1", "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)["pictures"]
    assert Path(entry["input"]).name == "03.png"


def test_what_others_wrote_is_not_replaced(net: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "00.png").write_bytes(b"dear")
    assert stylize(net, photos, out, "--shard", "1/2") == 2
    assert (out / "00.png").read_bytes() == b"dear"
    assert stylize(net, photos, out, "--shard", "2/2") == 0
    assert stylize(net, photos, out, "--shard", "1/2", "--force") == 0


def test_tf_config_names_the_shard_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="TF_CONFIG is not set"):
        shard_of("TF_CONFIG")
    body = {"cluster": {"worker": ["a:1", "b:1", "c:1"]}, "task": {"type": "worker", "index": 2}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(body))
    assert shard_of(None) is None
    assert shard_of("TF_CONFIG") == Shard(3, 3)
    assert shard_of("1/2") == Shard(1, 2)


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/2/3", "-1/2"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="shard is I/N"):
        shard_of(text)


def test_a_shards_share_does_not_depend_on_the_order_of_the_list(
    photos: Path, tmp_path: Path
) -> None:
    found = pairs([str(photos)], tmp_path / "out")
    assert Shard(1, 3).of(found) == Shard(1, 3).of(found[::-1])


def test_one_name_is_no_place_for_many(net: Path, photos: Path, tmp_path: Path) -> None:
    photo = photos / "00.png"
    assert stylize(net, photo, tmp_path / "one.png", "--shard", "1/1") == 2


def test_results_that_exist_are_skipped(
    net: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "00.png").write_bytes(b"dear")
    assert stylize(net, photos, out, "--skip-existing", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["skipped"] == 1
    assert report["pictures"][0] == {
        "input": str(photos / "00.png"), "output": str(out / "00.png"), "skipped": True
    }  # fmt: skip
    assert (out / "00.png").read_bytes() == b"dear"
    assert len(list(out.glob("*.png"))) == COUNT
    assert stylize(net, photos, out, "--skip-existing") == 0
    assert "11 skipped: the result exists" in capsys.readouterr().out


def test_photos_in_subfolders_become_pictures_there_though_one_is_bad(
    net: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "deep").mkdir()
    (photos / "00.png").rename(photos / "deep" / "00.png")
    (photos / "01.png").write_bytes(b"no picture")
    assert stylize(net, photos, tmp_path / "out") == 3
    assert "01.png" in capsys.readouterr().err
    assert (tmp_path / "out" / "deep" / "00.png").is_file()
    assert len(list((tmp_path / "out").rglob("*.png"))) == COUNT - 1


def test_several_sizes_are_named_in_the_pictures(net: Path, photos: Path, tmp_path: Path) -> None:
    sizes = ("--image-size", "6", "--image-size", "12")
    assert stylize(net, photos / "00.png", tmp_path / "one.png", *sizes) == 0
    for size in (6, 12):
        with Image.open(tmp_path / f"one_{size}.png") as picture:
            assert max(picture.size) == size
