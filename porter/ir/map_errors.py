"""Errors raised inside layer maps: attributed to the user's map or to porter, with their place.

A user's map may fail in any way when it is loaded, when the model is walked or when it runs; the
error names the line of the user's file. porter's own maps are tested, but a file may hold anything:
an unforeseen error names the module, and keeps its traceback if PORTER_DEBUG is set.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from porter.errors import PorterError, Unforeseen, UsageError

USER_MODULE = "porter_user_maps_"
"""Prefix of the Python modules loaded from users' files; the file's name follows."""

OUT_OF_MEMORY = "ResourceExhaustedError"
"""TensorFlow's error, which this package does not import."""


@contextmanager
def attribute_errors(handler: Any, path: str, typename: str) -> Iterator[None]:
    """Turn errors inside the block into UsageError where `handler` is a user's, else Unforeseen."""
    try:
        yield
    except Exception as error:
        attribute(error, handler, path, typename)
        raise


def attribute(error: Exception, handler: Any, path: str, typename: str) -> None:
    """Raise what an error becomes; returns where it stays as it is."""
    if isinstance(error, PorterError | MemoryError | RecursionError):
        return
    if type(error).__name__ == OUT_OF_MEMORY:
        return
    if not str(handler.__module__).startswith(USER_MODULE):
        if os.environ.get("PORTER_DEBUG"):
            return
        raise Unforeseen(
            f"{typename} is not as its layer map expects: {type(error).__name__}: {error}",
            where=f"{path or 'the root'} ({typename})",
            hint="if Torch7 runs this model, porter has a bug here: please report it with what "
            "PORTER_DEBUG=1 shows",
        ) from error
    file, line = place(handler, error)
    raise UsageError(
        f"the layer map of {typename} failed: {type(error).__name__}: {error}",
        where=f"{file}:{line}",
        received=f"called for {path or 'the root'} ({typename})",
        hint="correct the map and run again",
    ) from error


def place(handler: Any, error: BaseException) -> tuple[str, int]:
    """File and line in a user's map that an error came from, or where the map is defined."""
    file = inspect.getsourcefile(handler) or "<unknown>"
    line = line_in(error, Path(file))
    return file, line or inspect.getsourcelines(handler)[1]


def line_in(error: BaseException, path: Path) -> int:
    """The line of `path` from which an error came; 0 if it came from elsewhere."""
    if isinstance(error, SyntaxError):
        return error.lineno or 0
    line = 0
    trace = error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename) == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
