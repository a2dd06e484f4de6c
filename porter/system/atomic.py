"""Folders and files that are written completely or not at all.

Everything is written to a hidden sibling of the target and renamed at the end. The sibling stays
locked while the process lives, however it ends: a killed run's leftovers are recognised by their
free lock, and removed by the next run on the same target.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from porter.errors import EmitError, UsageError

if sys.platform != "win32":
    import fcntl

MARK = ".porter-"
UNIQUE = re.compile("[a-z0-9_]{8}")
"""What tempfile.mkdtemp appends to its prefix."""
EVENTS = ".porter"
"""Suffix of TensorBoard's event files."""
FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
DISK_ERRORS = (*FULL, *FORBIDDEN, errno.EFBIG, errno.EIO)


@contextmanager
def atomic_directory(target: Path, force: bool = False) -> Iterator[Path]:
    """A folder to write into, which becomes `target` when the block succeeds.

    Raises UsageError if `target` exists and `force` is not given, EmitError if it cannot be
    written. On failure nothing of this run remains.
    """
    target = Path(os.path.abspath(target))
    require_free(target, force)
    with reported(target), staging_dir(target) as place:
        new = place / "new"
        new.mkdir()
        yield new
        settle(new)
        with alone_in(target.parent):
            require_free(target, force)
            replace(new, target, place / "old")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically. Raises EmitError."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically. Raises EmitError."""
    with appearing_file(path) as new:
        new.write_bytes(content)


@contextmanager
def appearing_file(path: Path) -> Iterator[Path]:
    """A path to write a file to, which becomes `path` when the block succeeds."""
    path = Path(os.path.abspath(path))
    with reported(path):
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        with staging_dir(path) as place:
            new = place / "new"
            yield new
            sync(new)
            os.replace(new, path)
            sync(path.parent)


@contextmanager
def reported(target: Path) -> Iterator[None]:
    """Turn errors of the operating system into EmitError."""
    try:
        yield
    except Exception as error:
        code = code_of(error)
        if code is None:
            raise
        raise EmitError(
            f"{target} cannot be written: {os.strerror(code) if code else error}",
            hint=advice(code),
        ) from error


def code_of(error: Exception) -> int | None:
    """The errno of an error of the operating system (0 if it has none), else None.

    TensorFlow raises exceptions of its own, with the system's words in the message.
    """
    if isinstance(error, OSError):
        return error.errno or 0
    if not type(error).__module__.startswith("tensorflow."):
        return None
    return next((code for code in DISK_ERRORS if os.strerror(code) in str(error)), None)


# What is in the way -------------------------------------------------------------------------------


def require_file_target(path: Path, force: bool, option: str = "output") -> None:
    """Raise UsageError or EmitError, before any slow step, if no file can be put at `path`.

    `force` replaces a file. A link is never replaced, nor is what it points to. `option` is the
    argument that names the file.
    """
    require_no_link(path, option)
    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint=f"name a file with `{option}=`")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is no regular file", hint=f"choose another `{option}=`")
    if path.exists() and not force:
        raise UsageError(
            f"{path} already exists", hint=f"choose another `{option}=`, or add `force=True`"
        )
    parent = Path(os.path.abspath(path)).parent
    if not parent.is_dir():
        raise EmitError(
            f"{path} cannot be written: there is no folder {parent}", hint="create it first"
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise EmitError(f"{path} cannot be written", hint=advice(errno.EACCES))


def require_no_link(path: Path, option: str = "output") -> None:
    """Raise UsageError for a symbolic link: renaming onto it would replace the link alone."""
    if path.is_symlink():
        raise UsageError(
            f"{path} is a symbolic link to {os.readlink(path)}",
            hint=f"name the place itself with `{option}=`",
        )


def require_free(target: Path, force: bool) -> None:
    """Raise UsageError if something is in the way; checked again at the end of a long run."""
    if target.exists() and not force:
        raise UsageError(
            f"{target} already exists",
            hint="choose another folder with `output=`, or add `force=True`",
        )
    if target.exists() and not is_port(target):
        raise UsageError(
            f"{target} exists and was not written by porter",
            hint="choose another folder with `output=`; `force=True` replaces only what porter "
            "wrote",
        )
    require_no_link(target)


def is_port(folder: Path) -> bool:
    """Whether a folder is empty or written by porter: other programs write a manifest.json too."""
    if not folder.is_dir():
        return False
    if all(path.name.endswith(EVENTS) for path in folder.rglob("*") if not path.is_dir()):
        return True
    try:
        content = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "manifest" in content and "source" in content


def replace(new: Path, target: Path, old: Path) -> None:
    """Put `new` in the place of `target`; between two renames the target may be absent."""
    if target.exists():
        os.rename(target, old)
    try:
        os.rename(new, target)
    except OSError:
        if old.exists():
            os.rename(old, target)
        raise
    sync(target.parent)


# Staging folders ---------------------------------------------------------------------------------


@contextmanager
def staging_dir(target: Path) -> Iterator[Path]:
    """A hidden sibling folder of `target` for this process alone; gone when the block ends.

    First removes those that killed runs left behind.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(target)
    folder, handle = lock_staging(target)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def lock_staging(target: Path) -> tuple[Path, int]:
    """A new folder beside `target`, and the handle that keeps it locked."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{MARK}{target.name}-", dir=target.parent))
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # Another run removed it before it was locked.
        if lock(handle) is False or not folder.exists():
            os.close(handle)
            continue
        return folder, handle


def remove_stale(target: Path) -> None:
    """Remove what killed runs on this target left behind."""
    prefix = f"{MARK}{target.name}-"
    for left in list(target.parent.iterdir()):
        if not left.name.startswith(prefix) or not UNIQUE.fullmatch(left.name[len(prefix) :]):
            continue
        try:
            handle = os.open(left, os.O_RDONLY)
        except OSError:
            continue
        try:
            if lock(handle) is True:
                if (left / "old").exists() and not target.exists():
                    os.rename(left / "old", target)
                shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(handle)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """While open, no other porter replaces anything in this folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        lock(handle, wait=True)
        yield
    finally:
        os.close(handle)


def lock(handle: int, wait: bool = False) -> bool | None:
    """Lock an open folder until it is closed; False if another process holds the lock.

    None where the file system has no locks: then leftovers cannot be told from work in progress.
    """
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


# The disk -----------------------------------------------------------------------------------------


def settle(folder: Path) -> None:
    """fsync every file before the folder is renamed."""
    for path in sorted(folder.rglob("*")):
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """fsync a file or folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def advice(code: int) -> str:
    """What to do about a failed write."""
    if code in FULL:
        return "the disk is full: free some space, or choose another folder with `output=`"
    if code in FORBIDDEN:
        return "no permission to write there: choose another folder with `output=`"
    return "choose another folder with `output=`"
