"""porter's own version."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any


def version() -> str:
    """The version that is installed."""
    from importlib import metadata

    try:
        return metadata.version("porter-t7")
    except metadata.PackageNotFoundError:
        return "unknown"


class ShowVersion(argparse.Action):
    """`--version`. Looked up when asked for: every command would wait for it."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show porter's version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        print(f"porter {version()}")
        parser.exit()
