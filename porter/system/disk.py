"""What operating systems do differently with files: nothing else of porter asks which one it is.

Windows opens no folders, syncs no file that is open for reading alone, neither renames nor removes
what is open anywhere, and forbids names. Locks are filelock's, on a file beside what they guard.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from porter.errors import UsageError

WINDOWS = os.name == "nt"
PATIENCE = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between attempts to rename: virus scanners and indexers open new files for a moment."""
RESERVED = re.compile(r"(CON|PRN|AUX|NUL|COM[0-9¹²³]|LPT[0-9¹²³])\s*(\..*)?", re.IGNORECASE)
FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f]|[. ]$')
"""Learn / Windows / "Naming Files, Paths, and Namespaces"."""


def sync(path: Path) -> None:
    """fsync a file or, where the system can, a folder."""
    if WINDOWS and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if WINDOWS else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def rename(source: Path, target: Path) -> None:
    """Rename a folder to a name that is free, or that of an empty folder. Raises OSError."""
    patiently(lambda: os.rename(source, target))


def replace(source: Path, target: Path) -> None:
    """Rename a file, in the place of another one if there is one. Raises OSError."""
    patiently(lambda: os.replace(source, target))


def patiently(rename: Callable[[], None]) -> None:
    """Try again where a file may be open elsewhere for a moment."""
    for seconds in PATIENCE if WINDOWS else ():
        try:
            return rename()
        except FileExistsError:
            raise
        except PermissionError:
            time.sleep(seconds)
    return rename()


def require_possible_name(path: Path, option: str = "output") -> None:
    """Raise UsageError for a path that the system cannot have."""
    if not WINDOWS:
        return
    for part in path.parts[1:] if path.anchor else path.parts:
        if part not in (".", "..") and (RESERVED.fullmatch(part) or FORBIDDEN.search(part)):
            raise UsageError(
                f"Windows has no files of the name {part}", hint=f"choose another `{option}=`"
            )


class Lock:
    """A lock on a file that is there as long as the lock is; freed when its process ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = FileLock(path, mode=0o600, thread_local=False)

    def acquire(self) -> bool:
        """Whether it is ours now; never waits. False too where the file system has no locks."""
        try:
            self.lock.acquire(timeout=0)
        except (Timeout, NotImplementedError):
            return False
        return True

    def release(self) -> None:
        """Free it and remove its file."""
        self.lock.release()
        with contextlib.suppress(OSError):
            self.path.unlink()
