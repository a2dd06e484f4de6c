"""A file system that behaves as Windows' does, as far as porter can tell the difference.

It opens no folders, syncs no file that is open for reading alone, renames onto nothing, and neither
renames, replaces nor removes what is open or mapped. What TensorFlow's own code opens counts too.
"""

from __future__ import annotations

import errno
import os
import pathlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from filelock import Timeout

from porter.system import disk

Name = str | os.PathLike[str]
WRITES = os.O_WRONLY | os.O_RDWR


def behave_as_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, until the test ends. Skips where open files cannot be listed."""
    if not sys.platform.startswith("linux"):
        pytest.skip("open files are listed in Linux's /proc")
    import fcntl

    real = {name: getattr(os, name) for name in ("open", "fsync", "rename", "replace", "unlink")}

    def refuse(code: int, path: object) -> None:
        raise OSError(code, os.strerror(code), str(path))

    def fake_open(path: Name, *arguments: Any, **more: Any) -> int:
        if os.path.isdir(path):
            refuse(errno.EACCES, path)
        handle: int = real["open"](path, *arguments, **more)
        return handle

    def fake_fsync(handle: int) -> None:
        if not fcntl.fcntl(handle, fcntl.F_GETFL) & WRITES:
            refuse(errno.EBADF, handle)
        real["fsync"](handle)

    def fake_rename(source: Name, target: Name) -> None:
        if os.path.lexists(target):
            refuse(errno.EEXIST, target)
        if in_use(source):
            refuse(errno.EACCES, source)
        real["rename"](source, target)

    def fake_replace(source: Name, target: Name) -> None:
        if os.path.isdir(target) or in_use(source) or in_use(target):
            refuse(errno.EACCES, target)
        real["replace"](source, target)

    def fake_unlink(path: Name, **more: Any) -> None:
        if in_use(path):
            refuse(errno.EACCES, path)
        real["unlink"](path, **more)

    class FakeLock:
        """filelock's for Unix does what Windows forbids; this one keeps its file open, as that for
        Windows does.
        """

        def __init__(self, path: Name, **more: Any) -> None:
            self.path, self.handle = path, -1

        def acquire(self, timeout: float) -> None:
            handle = fake_open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                raise Timeout(str(self.path)) from None
            self.handle = handle

        def release(self) -> None:
            if self.handle >= 0:
                os.close(self.handle)
                self.handle = -1

    fakes = {
        "open": fake_open,
        "fsync": fake_fsync,
        "rename": fake_rename,
        "replace": fake_replace,
        "unlink": fake_unlink,
        "remove": fake_unlink,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(os, name, fake)
    accessor: Any = getattr(pathlib, "_NormalAccessor", None)
    for name in ("rename", "replace", "unlink") if accessor else ():
        # Python 3.10's paths have functions of os from before.
        monkeypatch.setattr(accessor, name, staticmethod(fakes[name]))
    monkeypatch.setattr(tempfile, "TemporaryFile", tempfile.NamedTemporaryFile)  # as there
    monkeypatch.setattr(shutil, "_use_fd_functions", False)
    monkeypatch.setattr(disk, "FileLock", FakeLock)
    monkeypatch.setattr(disk, "WINDOWS", True)
    monkeypatch.setattr(disk, "PATIENCE", (0.01, 0.01))


def in_use(path: Name) -> bool:
    """Whether this process has a file open or mapped that is this one, or lies in this folder."""
    place = os.path.realpath(path)
    return any(name == place or name.startswith(place + os.sep) for name in open_files())


def open_files() -> set[str]:
    """What this process has open or mapped."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    names = {line.split(maxsplit=5)[-1] for line in maps.splitlines()}
    for link in Path("/proc/self/fd").iterdir():
        try:
            names.add(os.readlink(link))
        except OSError:  # that of the listing itself
            continue
    return names
