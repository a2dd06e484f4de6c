"""The manifest of a converted folder, and its checksums: the files are those that were verified.

This detects damage, incomplete copies and exchanged files, but not somebody who rewrites the
manifest too. A SavedModel is a program, as TensorFlow says: open only those that you trust.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from porter.errors import Corrupt, UsageError

MANIFEST = "manifest.json"
BLOCK = 2**20
AGAIN = "convert the model again, or fetch a complete copy"


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below `folder` by relative path, except the manifest's."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: digest(path) for name, path in named.items() if name != MANIFEST}


def digest(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in blocks."""
    hashed = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            hashed.update(block)
    return hashed.hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder that porter wrote. Raises UsageError, or Corrupt if damaged."""
    path = folder / MANIFEST
    if not path.is_file():
        raise UsageError(
            f"{folder} is not a folder that porter made", hint="it should hold a manifest.json"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for described in content["signature"].values():
            check_described(described)
        is_sound = isinstance(content["files"], dict) and isinstance(content["data_format"], str)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Corrupt(
            "the manifest cannot be read", where=str(path), received=repr(error), hint=AGAIN
        ) from error
    if not is_sound:
        raise Corrupt("the manifest is not as porter writes it", where=str(path), hint=AGAIN)
    return dict(content)


def check_described(described: Mapping[str, Any]) -> None:
    """Raise ValueError unless a signature's entry is as porter writes it."""
    shape, axes = described["torch_shape"], described["torch_axes"]
    if not all(size is None or (type(size) is int and 0 < size < 2**31) for size in shape):
        raise ValueError(f"a shape {shape}")
    if sorted(axes) != list(range(len(shape))) or described["dtype"] not in ("float32", "int64"):
        raise ValueError(f"axes {axes} of type {described['dtype']}")


def sealed(folder: Path, name: str) -> tuple[bytes, bool]:
    """The content of one file, and whether the manifest of its folder lists it with this content.

    Raises Corrupt where the manifest lists another content, or cannot be read.
    """
    content, manifest = (folder / name).read_bytes(), folder / MANIFEST
    if not manifest.is_file():
        return content, False
    try:
        files = json.loads(manifest.read_text(encoding="utf-8")).get("files", {})
        expected = files.get(name)
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise Corrupt(
            "the manifest cannot be read", where=str(manifest), received=repr(error), hint=AGAIN
        ) from error
    if expected is None:
        return content, False
    require_digest(folder, name, hashlib.sha256(content).hexdigest(), expected)
    return content, True


def check(folder: Path, files: Mapping[str, str], below: str = "") -> None:
    """Verify the files of a converted folder, or of its subfolder `below`. Raises Corrupt.

    Files that the manifest does not list are ignored.
    """
    for name, expected in sorted(files.items()):
        parts = PurePosixPath(name).parts
        if below and parts[:1] != (below,):
            continue
        if ".." in parts or PurePosixPath(name).is_absolute():
            raise Corrupt("the manifest names a file outside", where=str(folder), received=name)
        try:
            found = digest(folder / name)
        except OSError as error:
            raise Corrupt(
                f"{name} is missing or cannot be read", where=str(folder), hint=AGAIN
            ) from error
        require_digest(folder, name, found, expected)


def require_digest(folder: Path, name: str, found: str, expected: str) -> None:
    """Raise Corrupt if a file's digest is not the one in the manifest."""
    if found != expected:
        raise Corrupt(
            f"{name} is not what porter wrote",
            where=str(folder),
            received=f"SHA-256 {found}, the manifest says {expected}",
            hint=AGAIN,
        )
