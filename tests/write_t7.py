"""Write `.t7` files of Python values, as `tests.build` takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from porter.torch7 import read, writer
from tests.build import FIXTURES, lua


def write_t7(path: Path, root: Any) -> Path:
    """Save `root` as torch.save would; returns the path."""
    path.write_bytes(to_bytes(root))
    return path


def to_bytes(root: Any) -> bytes:
    return writer.to_bytes(lua(root))


def unknown_object(path: Path) -> Path:
    """A table with an object of a class that nobody knows, with a trunk and two heads in fields."""
    root = read(FIXTURES / "field" / "objects" / "named_field_nets.t7").root
    root["model"].typename = "my.Heads"
    path.write_bytes(writer.to_bytes(root))
    return path
