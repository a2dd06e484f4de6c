"""Input files are regular files: a FIFO would wait for ever, a device has no end."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from porter.errors import UsageError

KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def require_file(path: str | os.PathLike[str]) -> Path:
    """The path, if nothing or a regular file is there; links are followed. Raises UsageError.

    That a file is missing is left to whoever opens it, and can say what it was for.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return Path(path)
    kind = KINDS.get(stat.S_IFMT(mode))
    if kind is not None:
        raise UsageError(f"{path} is {kind}, not a file", hint="copy its content to a file first")
    return Path(path)


def torch_file_in(folder: Path) -> Path | None:
    """The `.t7` that is meant where a folder is named in its place: model.t7, else the largest."""
    files = [file for file in folder.glob("*.t7") if file.is_file()]
    named = (file for file in files if file.name == "model.t7")
    return next(named, max(files, key=lambda file: file.stat().st_size, default=None))
