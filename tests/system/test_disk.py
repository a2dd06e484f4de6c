"""Windows' rules, on a file system that follows them."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from porter.cli import main as cli
from porter.errors import EmitError, UsageError
from porter.system import disk
from porter.system.atomic import atomic_directory, require_file_target, write_bytes
from porter.system.disk import Lock, require_possible_name
from tests.build import conv, sequential
from tests.windows import behave_as_windows, in_use
from tests.write_t7 import write_t7


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    behave_as_windows(monkeypatch)


def test_the_stand_in_refuses_what_windows_refuses(windows: None, tmp_path: Path) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_bytes(b"content")
    other.write_bytes(b"content")
    with pytest.raises(PermissionError):
        os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(FileExistsError):
        os.rename(file, other)
    with open(file, "rb") as opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fsync(opened.fileno())
        for refused in (lambda: os.replace(other, file), file.unlink):
            with pytest.raises(PermissionError):
                refused()
        mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    assert in_use(file)
    mapped.close()
    os.replace(other, file)


@pytest.mark.parametrize(
    "formats", ["saved_model,checkpoint,frozen", "keras,source,weights", "tflite,onnx,web"]
)
def test_every_format_is_written(windows: None, tmp_path: Path, formats: str) -> None:
    """Nothing that was written is still open when it is renamed."""
    model = write_t7(tmp_path / "model.t7", sequential(conv(3, 2)))
    port = tmp_path / "port"
    assert cli.main(["convert", str(model), "-o", str(port), "--format", formats]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.t7", "port"]


def test_a_mapped_file_is_kept_and_named(windows: None, tmp_path: Path) -> None:
    file, port = tmp_path / "file", tmp_path / "port"
    write_bytes(file, b"old")
    with atomic_directory(port) as folder:
        (folder / "manifest.json").write_text('{"manifest": 1, "source": "old"}')
    with open(file, "rb") as opened, open(port / "manifest.json", "rb"):
        mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        with pytest.raises(EmitError) as caught:
            write_bytes(file, b"new")
        assert "close the program" in str(caught.value.hint)
        with pytest.raises(EmitError), atomic_directory(port, force=True) as folder:
            (folder / "manifest.json").write_text('{"manifest": 1, "source": "new"}')
        mapped.close()
    assert file.read_bytes() == b"old"
    assert "old" in (port / "manifest.json").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "port"]


def test_a_file_that_is_open_for_a_moment_is_waited_for(
    windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a virus scanner."""
    write_bytes(tmp_path / "file", b"old")
    scanner = open(tmp_path / "file", "rb")  # noqa: SIM115
    monkeypatch.setattr(disk.time, "sleep", lambda seconds: scanner.close())
    write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["nul", "COM1.t7", "aux.tar.gz", "a:b", "what?", "end.", "end "])
def test_names_that_windows_forbids_are_refused(name: str, windows: None, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Windows has no files of the name"):
        require_file_target(tmp_path / name, force=False, option="report")
    with pytest.raises(UsageError, match="Windows"), atomic_directory(tmp_path / name / "port"):
        pytest.fail("the block must not run")


@pytest.mark.parametrize("name", ["console", "com10", "null.t7", ".hidden", "größe 2", "a.b-c"])
def test_other_names_are_taken(name: str, windows: None, tmp_path: Path) -> None:
    require_possible_name(tmp_path / name)


@pytest.mark.parametrize("name", ["nul", "a:b", "end."])
def test_elsewhere_every_name_is_taken(name: str, tmp_path: Path) -> None:
    require_possible_name(tmp_path / name)


def test_a_lock_is_one_process_s(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert not first.path.exists()
    assert second.acquire()
    second.release()


def test_without_locks_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that has none nothing of others is removed."""
    left = tmp_path / ".porter-file-0123abcdef"
    left.mkdir()
    monkeypatch.setattr(Lock, "acquire", lambda self: False)
    write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert left.is_dir()
