"""Folders that appear whole or not at all.

Everything is written to a hidden sibling of the target and renamed at the end. A run that was
killed leaves that sibling behind; the next run on the same target removes it.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from porter.errors import EmitError, UsageError

MARK = ".porter-"


@contextmanager
def appearing(target: Path, force: bool = False) -> Iterator[Path]:
    """A folder to write into, which becomes `target` when the block ends well.

    Raises UsageError if `target` exists and `force` is not given, EmitError if it cannot be
    written. Whatever goes wrong, nothing of this run remains.
    """
    target = Path(os.path.abspath(target))
    require_free(target, force)
    sweep(target)
    work = target.with_name(f"{MARK}{target.name}-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work.mkdir()
        yield work
        settle(work)
        require_free(target, force)
        replace(work, target)
    except OSError as error:
        raise EmitError(
            f"{target} cannot be written: {os.strerror(error.errno) if error.errno else error}",
            hint=advice(error),
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def require_free(target: Path, force: bool) -> None:
    """Raise UsageError if something is in the way; asked again at the end of a long run."""
    if target.exists() and not force:
        raise UsageError(
            f"{target} already exists", hint="choose another folder with -o, or add --force"
        )
    if target.exists() and not is_port(target):
        raise UsageError(
            f"{target} exists and was not written by porter",
            hint="choose another folder with -o; --force replaces only what porter wrote",
        )


def is_port(folder: Path) -> bool:
    """Whether a folder is one that porter made, or empty."""
    return folder.is_dir() and ((folder / "manifest.json").is_file() or not any(folder.iterdir()))


def replace(work: Path, target: Path) -> None:
    """Put `work` in the place of `target`; between two renames the target may be absent."""
    old = target.with_name(f"{MARK}{target.name}-{os.getpid()}-old")
    if target.exists():
        os.rename(target, old)
    try:
        os.rename(work, target)
    except OSError:
        if old.exists():
            os.rename(old, target)
        raise
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def settle(folder: Path) -> None:
    """Have the disk hold every file before the folder gets its name."""
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


def sweep(target: Path) -> None:
    """Remove what earlier runs on this target left behind when they were killed."""
    prefix = f"{MARK}{target.name}-"
    if not target.parent.is_dir():
        return
    for left in target.parent.glob(f"{prefix}*"):
        process, _, kind = left.name[len(prefix) :].partition("-")
        if not process.isdecimal() or alive(int(process)):
            continue
        if kind == "old" and not target.exists():
            os.rename(left, target)
        else:
            shutil.rmtree(left, ignore_errors=True)


def alive(process: int) -> bool:
    """Whether a process of this number runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def advice(error: OSError) -> str:
    """What to do about a failed write."""
    if error.errno == errno.ENOSPC:
        return "the disk is full: free some space, or choose another folder with -o"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "no permission to write there: choose another folder with -o"
    return "choose another folder with -o"


def write_text(path: Path, text: str) -> None:
    """A text file that appears whole or not at all. Raises EmitError."""
    path = Path(os.path.abspath(path))
    work = path.with_name(f"{MARK}{path.name}-{os.getpid()}")
    try:
        work.write_text(text, encoding="utf-8")
        sync(work)
        os.replace(work, path)
    except OSError as error:
        raise EmitError(
            f"{path} cannot be written: {os.strerror(error.errno) if error.errno else error}",
            hint=advice(error),
        ) from error
    finally:
        work.unlink(missing_ok=True)
