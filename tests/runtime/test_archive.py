"""Archives that NumPy cannot read."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest

from porter.runtime.archive import BROKEN, open_archive


@pytest.mark.parametrize(
    "header", ["{'shape': ((", "{'shape': 1", "(" * 500, "\0", "  1\n 2", "'''"]
)
def test_headers_that_are_no_python_are_broken(tmp_path: Path, header: str) -> None:
    """NumPy reads a header again as Python 2 would have written it, token by token."""
    path = tmp_path / "archive.npz"
    content = header.encode()
    with zipfile.ZipFile(path, "w") as archive:
        npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(content)) + content
        archive.writestr("a.npy", npy + bytes(64))
    with pytest.raises(BROKEN), open_archive(path) as opened:
        opened["a"]
