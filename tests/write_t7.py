"""Write `.t7` files of Python values, as `tests.build` takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from porter.torch7 import writer
from tests.build import lua


def write_t7(path: Path, root: Any) -> Path:
    """Save `root` as torch.save would; returns the path."""
    path.write_bytes(to_bytes(root))
    return path


def to_bytes(root: Any) -> bytes:
    return writer.to_bytes(lua(root))
