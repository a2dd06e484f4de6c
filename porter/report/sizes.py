"""Sizes of files as people write them."""

from __future__ import annotations


def size_shown(count: int) -> str:
    """Bytes in kB or MB (1,000 and 1,000,000 bytes)."""
    if count < 1_000_000:
        return f"{count / 1e3:,.1f} kB"
    return f"{count / 1e6:,.1f} MB"
