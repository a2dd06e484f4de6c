"""A preset in a TOML file.

    [input]
    channels = "BGR"                      # RGB, BGR, Y (colours come from the photo) or grey
    range = [0, 255]                      # what levels 0 and 255 stand for, before mean and std
    mean = [103.939, 116.779, 123.68]     # one number, or one a channel
    std = [1]

    [output]                              # left out for a classifier
    channels = "RGB"

Above the tables may stand `name`, `median_filter` (odd), `border` ("none" or "replicate") and
`labels` (a list, or a text file with one class a line).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from porter.errors import UsageError
from porter.imaging.presets import PLANES, Numbers, PixelEncoding, Preset

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SIDE = ("channels", "range", "mean", "std")
PRESET = ("name", "input", "output", "median_filter", "border", "labels")


def read(path: str) -> Preset:
    """The preset that a TOML file describes. Raises UsageError."""
    file = Path(path)
    try:
        body = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from error
    labels = body.get("labels")
    if isinstance(labels, str):
        body["labels"] = read_labels(file.parent / labels)
    return parse({"name": file.stem} | body, path)


def read_labels(path: Path) -> list[str]:
    """One class a line."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the labels in {path} cannot be read: {error}") from error


def parse(body: Mapping[str, Any], where: str) -> Preset:
    """A preset out of a table; every entry is checked. Raises UsageError."""
    known(body, PRESET, where)
    if "input" not in body:
        raise UsageError("a preset needs a table [input]", where=where)
    window = body.get("median_filter", 0)
    if type(window) is not int or window < 0 or (window and window % 2 == 0):
        raise UsageError("median_filter is 0 or odd", where=where, received=str(window))
    border = body.get("border", "none")
    if border not in ("none", "replicate"):
        raise UsageError('border is "none" or "replicate"', where=where, received=str(border))
    labels = body.get("labels", [])
    if not isinstance(labels, list | tuple) or not all(isinstance(each, str) for each in labels):
        raise UsageError("labels is a list of strings, or a file", where=where)
    output = body.get("output")
    return Preset(
        str(body.get("name", "unnamed")),
        side(body["input"], f"{where}, [input]"),
        None if output is None else side(output, f"{where}, [output]"),
        window,
        border,
        tuple(labels),
    )


def side(body: Any, where: str) -> PixelEncoding:
    """One end of the net."""
    if not isinstance(body, Mapping):
        raise UsageError("this should be a table", where=where, received=repr(body))
    known(body, SIDE, where)
    channels = body.get("channels", "RGB")
    if channels not in PLANES:
        raise UsageError(
            "channels is one of " + ", ".join(PLANES), where=where, received=repr(channels)
        )
    low, high = numbers(body.get("range", (0, 1)), (2,), f"{where}, range")
    if low == high:
        raise UsageError("range is two different numbers", where=where, received=f"{low}, {high}")
    counts = (1, PLANES[channels])
    mean = numbers(body.get("mean", (0,)), counts, f"{where}, mean")
    std = numbers(body.get("std", (1,)), counts, f"{where}, std")
    if 0 in std:
        raise UsageError("std must not be 0", where=where)
    return PixelEncoding(channels, (low, high), mean, std)


def numbers(value: Any, counts: tuple[int, ...], where: str) -> Numbers:
    """A list of as many finite numbers as are wanted."""
    items = list(value) if isinstance(value, list | tuple) else [value]
    plain = all(
        isinstance(each, int | float) and not isinstance(each, bool) and abs(each) < float("inf")
        for each in items
    )
    if not plain or len(items) not in counts:
        wanted = " or ".join(str(count) for count in dict.fromkeys(counts))
        raise UsageError(f"this should be {wanted} number(s)", where=where, received=repr(value))
    return tuple(float(each) for each in items)


def known(body: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    """A misspelt entry would silently mean its default."""
    for name in body:
        if name not in names:
            raise UsageError(
                f"there is no entry '{name}' here", where=where, hint="entries: " + ", ".join(names)
            )
