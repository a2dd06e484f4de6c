"""Real runs that are killed, that meet a full or locked disk, huge files, or each other.

PORTER_KILLS=100 pytest tests/conversion/test_kill.py -k killed   kills 100 conversions instead of 8
"""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from porter.cli import main as cli
from porter.system.checksums import check, read_manifest
from tests.build import conv, sequential
from tests.write_t7 import write_t7

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("PORTER_KILLS", "8"))
MEGABYTE = 2**20


def start(temporary: Path, *arguments: object) -> subprocess.Popen[bytes]:
    """`porter` in a process of its own, with its own temporary folder."""
    return subprocess.Popen(
        [sys.executable, "cli.py", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def sources(target: Path) -> str:
    """Which model a complete port was made from; asserts that it is complete."""
    manifest = read_manifest(target)
    check(target, manifest["files"])
    assert set(manifest["formats"]) == {path.name for path in target.iterdir() if path.is_dir()}
    return str(manifest["source"]["name"])


def hidden(*folders: Path) -> list[str]:
    """What porter's runs left in these folders."""
    return [path.name for folder in folders for path in folder.iterdir() if path.name[0] == "."]


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


# Killed -------------------------------------------------------------------------------------------


def test_a_killed_conversion_leaves_nothing_or_all(tmp_path: Path, temporary: Path) -> None:
    """At any moment the target is absent, the complete old port, or the complete new one."""
    old = write_t7(tmp_path / "old.t7", sequential(conv(3, 2, seed=1)))
    new = write_t7(tmp_path / "new.t7", sequential(conv(3, 2, seed=2)))
    target, generator = tmp_path / "ports" / "port", random.Random(KILLS)
    begin = time.monotonic()
    assert start(temporary, "convert", old, "-o", target).wait() == 0
    whole = time.monotonic() - begin
    before, ends = old.name, {"kept": 0, "replaced": 0, "absent": 0}
    for turn in range(KILLS):
        source = (new, old)[turn % 2]
        process = start(temporary, "convert", source, "-o", target, "--force")
        time.sleep(generator.uniform(0.2, 1.1) * whole)
        process.kill()
        process.wait()
        after = sources(target) if target.exists() else "absent"
        # What was moved away by a run that was killed right then comes back with the next.
        assert after in ("absent", before, source.name)
        ends["absent" if after == "absent" else "kept" if after == before else "replaced"] += 1
        before = before if after == "absent" else after
    print(f"{KILLS} kills within {whole:.1f} s: {ends}")
    finished = start(temporary, "convert", new, "-o", target, "--force")
    assert finished.wait() == 0
    assert sources(target) == "new.t7"
    assert hidden(target.parent) == []
    # The last killed run's reloading child may still have ended while the next run swept.
    assert all(name.startswith(".porter-reload-") for name in hidden(temporary))
    assert len(hidden(temporary)) <= 2  # a folder and its lock


WRITER = """
import sys, time
from pathlib import Path
from porter.system.atomic import atomic_directory
while True:
    with atomic_directory(Path(sys.argv[1]), force=True) as folder:
        (folder / "manifest.json").write_text('{"manifest": 1, "source": "whole"}')
        for number in range(20):
            (folder / str(number)).write_bytes(b"x" * 10_000)
"""


def test_a_writer_killed_again_and_again_never_shows_half_a_folder(tmp_path: Path) -> None:
    target, generator = tmp_path / "port", random.Random(2)
    for _ in range(20):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(target)], cwd=ROOT)
        time.sleep(generator.uniform(0.15, 0.5))
        process.kill()
        process.wait()
        if target.exists():
            assert len(list(target.iterdir())) == 21
            assert {path.stat().st_size for path in target.iterdir()} <= {10_000, 34}
    assert cli.main(["record", "-o", str(target) + ".lua"]) == 0
    from porter.system.atomic import remove_stale

    remove_stale(target)
    assert hidden(tmp_path) == []


# Two at once --------------------------------------------------------------------------------------


def test_two_conversions_into_one_folder_do_not_mix(
    model_path: Path, tmp_path: Path, temporary: Path
) -> None:
    target = tmp_path / "port"
    arguments = ("convert", model_path, "-o", target, "--force")
    both = [start(temporary, *arguments) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert sources(target) == model_path.name
    assert hidden(tmp_path, temporary) == []


def test_two_conversions_of_one_file_are_equal_to_the_byte(
    model_path: Path, tmp_path: Path, temporary: Path
) -> None:
    """In processes of their own, with other numbers of threads."""
    ports = [tmp_path / "one", tmp_path / "two"]
    for threads, port in enumerate(ports, start=1):
        count = dict.fromkeys(
            ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), str(threads)
        )
        subprocess.run(
            [sys.executable, "cli.py", "convert", str(model_path), "-o", str(port)],
            cwd=ROOT,
            env={**os.environ, **count},
            stdout=subprocess.DEVNULL,
            check=True,
        )
    one, two = ({p.relative_to(port): p for p in port.rglob("*") if p.is_file()} for port in ports)
    assert one.keys() == two.keys()
    differing = [str(name) for name in one if one[name].read_bytes() != two[name].read_bytes()]
    assert differing == []


# Disks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["20k", "36k", "56k"])
def test_a_full_disk_is_told_and_nothing_stays(
    model_path: Path, mount: Callable[[str], Path], size: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mounted = mount(f"size={size}")
    assert cli.main(["convert", str(model_path), "-o", str(mounted / "port")]) == 2
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert "free some space" in error
    assert "Traceback" not in error
    assert list(mounted.iterdir()) == []


def test_a_read_only_disk_is_reported(
    model_path: Path, mount: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["convert", str(model_path), "-o", str(mount("ro") / "port")]) == 2
    assert "Read-only file system" in capsys.readouterr().err


# Huge files ---------------------------------------------------------------------------------------

LOOK = """
import json, resource, sys
from porter.apps.inspect import inspect
from porter.frontend.model_file import open_model
from porter.layer_maps import default_registry

registry = default_registry()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
opened = open_model(sys.argv[1], registry)
seen = inspect(opened)
digest = opened.file.sha256() if sys.argv[2] == "digest" else ""
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps([seen.parameters, grown // 1024, digest]))
"""


def sparse(path: Path, rows: int, columns: int) -> Path:
    """{net = a small net, big = rows × columns floats}, whose zeros take no room on the disk."""
    write_t7(path, {"net": sequential(conv(3, 4)), "big": 0.0})
    with open(path, "r+b") as file:
        file.seek(-12, os.SEEK_END)  # the number in the place of the tensor
        file.truncate()
        file.write(struct.pack("<ii", 4, 10_001) + named("torch.FloatTensor"))
        file.write(struct.pack("<i5q", 2, rows, columns, columns, 1, 1))
        file.write(struct.pack("<ii", 4, 10_002) + named("torch.FloatStorage"))
        file.write(struct.pack("<q", rows * columns))
        file.truncate(file.tell() + 4 * rows * columns)
    return path


def named(typename: str) -> bytes:
    """A class's version and name."""
    return b"".join(struct.pack("<i", len(t)) + t.encode() for t in ("V 1", typename))


@pytest.mark.parametrize(("gigabytes", "digest"), [(4, "none"), (1, "digest")])
def test_memory_grows_with_what_is_used_of_a_file(
    tmp_path: Path, gigabytes: int, digest: str
) -> None:
    path = sparse(tmp_path / "huge.t7", gigabytes * 2**14, 2**14)
    assert path.stat().st_size > gigabytes * 2**30
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(path), digest], cwd=ROOT, capture_output=True, check=True
    )
    parameters, megabytes, _ = json.loads(done.stdout)
    assert parameters == 4 * 3 * 9 + 4
    assert megabytes < 100
