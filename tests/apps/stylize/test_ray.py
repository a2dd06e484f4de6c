"""Pictures shared out by Ray, one of whose workers is killed: none lost, none twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from porter.apps.stylize.ray_data import RECORD, cluster
from porter.cli import main as cli
from porter.errors import UsageError
from tests.build import conv, sequential
from tests.write_t7 import write_t7

ROOT = Path(__file__).parents[3]
COUNT = 300
PATIENCE = 600
"""Seconds after which a worker that never starts is a failure, and not a slow machine."""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return write_t7(tmp_path / "net.t7", sequential(conv(3, 3, 3, pad=1)))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(COUNT):
        levels = np.full((8, 8, 3), number % 256, np.uint8)
        Image.fromarray(levels).save(folder / f"{number:03d}.png")
    return folder


def workers(ancestor: int) -> list[int]:
    """The processes below one that run a net for Ray."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            try:
                status = (each / "stat").read_text().rpartition(")")[2].split()
                names[int(each.name)] = (each / "cmdline").read_text()
            except OSError:  # gone meanwhile
                continue
            parents[int(each.name)] = int(status[1])

    def descends(process: int) -> bool:
        while process in parents and process != ancestor:
            process = parents[process]
        return process == ancestor

    return [each for each, name in names.items() if "ray::MapWorker" in name and descends(each)]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
def test_a_killed_worker_loses_no_picture_and_makes_none_twice(
    net: Path, photos: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray.data")
    out, record = tmp_path / "out", tmp_path / "out" / RECORD
    words = ["-m", "cli", "stylize", net, photos, "-o", out, "--preset", "plain", "--ray"]
    command = [sys.executable, *map(str, words)]
    with (
        open(tmp_path / "log", "w", encoding="utf-8") as log,
        subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as run,
    ):
        deadline, killed = time.monotonic() + PATIENCE, 0
        two = min(2, len(os.sched_getaffinity(0)))
        while run.poll() is None and not killed and time.monotonic() < deadline:
            running = workers(run.pid)
            begun = out.is_dir() and any(out.glob("*.png"))
            if begun and len(running) >= two:
                os.kill(running[0], signal.SIGKILL)
                killed = running[0]
            time.sleep(0.05)
        code = run.wait()
    shown = (tmp_path / "log").read_text(encoding="utf-8")
    assert killed, shown
    assert code == 0, shown
    names = sorted(photo.name for photo in photos.iterdir())
    assert sorted(picture.name for picture in out.glob("*.png")) == names
    lines = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    assert Counter(Path(line["input"]).name for line in lines) == Counter(names)
    assert f"{COUNT} pictures in " in shown


def test_what_is_done_is_not_done_again(
    net: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The record is that of shards; nothing is left, so that no Ray is started."""
    out, names = tmp_path / "out", sorted(photos.iterdir())
    words = ["stylize", str(net), *map(str, names[:3]), "-o", str(out), "--preset", "plain"]
    assert cli.main([*words, "--shard", "1/1"]) == 0
    (out / "shard-1-of-1.jsonl").rename(out / RECORD)
    capsys.readouterr()
    assert cli.main([*words, "--ray"]) == 0
    assert capsys.readouterr().out.startswith("0 pictures in ")


@pytest.mark.parametrize("address", ["photos/", "x.png", "somewhere"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is no address of a Ray cluster"), cluster(address):
        pass


def test_one_way_to_share_out(net: Path, photos: Path, tmp_path: Path) -> None:
    words = ["stylize", str(net), str(photos), "-o", str(tmp_path / "out"), "--shard", "1/2"]
    assert cli.main([*words, "--ray"]) == 2
    assert not (tmp_path / "out").exists()
