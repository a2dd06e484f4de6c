"""Folders and files that are written completely or not at all.

Everything is written to a hidden sibling of the target and renamed at the end. A lock file beside
the sibling stays locked while the process lives, however it ends: a killed run's leftovers are
recognised by their free lock, and removed by the next run on the same target.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from porter.errors import EmitError, PorterError, UsageError
from porter.system import disk
from porter.system.disk import Lock, require_possible_name, sync

MARK = ".porter-"
LOCK = ".lock"
UNIQUE = re.compile("[0-9a-f]{10}")
"""What ends the name of a staging folder."""
ATTEMPTS = 100
"""How often others may put something in a target's place while this run does."""
EVENTS = ".porter"
"""Suffix of TensorBoard's event files."""
FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
OCCUPIED = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)
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
        replace(new, target, place / "old", force)


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
            disk.replace(new, path)
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

    TensorFlow, safetensors and HDF5 raise exceptions of their own, with the system's words in the
    message.
    """
    if isinstance(error, OSError):
        return error.errno or 0
    if isinstance(error, PorterError):
        return None
    return next((code for code in DISK_ERRORS if os.strerror(code) in str(error)), None)


# What is in the way -------------------------------------------------------------------------------


def require_file_target(path: Path, force: bool, option: str = "output") -> None:
    """Raise UsageError or EmitError, before any slow step, if no file can be put at `path`.

    `force` replaces a file. A link is never replaced, nor is what it points to. `option` is the
    argument that names the file.
    """
    require_possible_name(path, option)
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
    require_possible_name(target)
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


def replace(new: Path, target: Path, old: Path, force: bool) -> None:
    """Put `new` in the place of `target`; between two renames the target may be absent.

    A folder is never renamed onto another one, so of two runs the second finds the first one's.
    """
    for attempt in range(ATTEMPTS):
        try:
            require_free(target, force)
        except FileNotFoundError:  # Another run took it away while it was looked at.
            continue
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
            with contextlib.suppress(FileNotFoundError):
                disk.rename(target, old)
        try:
            disk.rename(new, target)
        except OSError as error:
            if error.errno in OCCUPIED and attempt + 1 < ATTEMPTS:
                continue
            if old.exists() and not target.exists():
                disk.rename(old, target)
            raise
        break
    sync(target.parent)


@contextmanager
def no_empty_folders(target: Path) -> Iterator[None]:
    """If the block fails, removes the folders that it made at and above `target` and left empty."""
    target = Path(os.path.abspath(target))
    missing = [each for each in (target, *target.parents) if not each.exists()]
    try:
        yield
    except BaseException:
        inside = os.walk(target, topdown=False) if missing else ()
        remove_empty([*(Path(path) for path, _, _ in inside), *missing])
        raise


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of the folders, inner ones first, that are empty."""
    for folder in folders:
        with contextlib.suppress(OSError):  # What is not empty stays.
            folder.rmdir()


# Staging folders ---------------------------------------------------------------------------------


@contextmanager
def staging_dir(target: Path) -> Iterator[Path]:
    """A hidden sibling folder of `target` for this process alone; gone when the block ends.

    First removes those that killed runs left behind. Parents that are missing are made, and removed
    again if nothing was put into them.
    """
    missing = [parent for parent in target.parents if not parent.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(target)
    folder, lock = lock_staging(target)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        remove_empty(missing)


def lock_staging(target: Path) -> tuple[Path, Lock]:
    """A new folder beside `target`, and the lock that says that a process is at work on it.

    Where the file system has no locks, leftovers cannot be told from work in progress, and stay.
    """
    attempt = 0
    while True:
        attempt += 1
        folder = target.with_name(f"{MARK}{target.name}-{secrets.token_hex(5)}")
        lock = Lock(folder.with_name(folder.name + LOCK))
        try:
            if not lock.acquire():
                if attempt < ATTEMPTS:
                    continue
            elif not lock.path.exists():  # Another run removed it before it was locked.
                lock.release()
                continue
            folder.mkdir(mode=0o700)
        except BaseException:  # Ctrl-C, too: nobody else knows of this file.
            lock.release()
            raise
        return folder, lock


def remove_stale(target: Path) -> None:
    """Remove what killed runs on this target left behind."""
    prefix = f"{MARK}{target.name}-"
    names = {left.name.removesuffix(LOCK) for left in target.parent.iterdir()}
    for name in sorted(names):
        if not name.startswith(prefix) or not UNIQUE.fullmatch(name[len(prefix) :]):
            continue
        left = target.with_name(name)
        lock = Lock(left.with_name(name + LOCK))
        with contextlib.suppress(OSError):
            if not lock.acquire():
                continue
            try:
                if (left / "old").exists() and not target.exists():
                    disk.rename(left / "old", target)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                lock.release()


# The disk -----------------------------------------------------------------------------------------


def settle(folder: Path) -> None:
    """fsync every file before the folder is renamed."""
    for path in sorted(folder.rglob("*")):
        sync(path)
    sync(folder)


def advice(code: int) -> str:
    """What to do about a failed write."""
    if code in FULL:
        return "the disk is full: free some space, or choose another folder with `output=`"
    if code in FORBIDDEN and disk.WINDOWS:
        return "close the program that has a file open there, or choose another `output=`"
    if code in FORBIDDEN:
        return "no permission to write there: choose another folder with `output=`"
    return "choose another folder with `output=`"
