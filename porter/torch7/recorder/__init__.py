"""The Lua script with which a user of Torch7 records activations, and how to tell its files."""

from __future__ import annotations

from typing import Any

from porter.torch7.types import Table

FORMAT = "torch7-activations"


def script() -> str:
    """The text of `record.lua`: `th record.lua model.t7 input.t7 acts.t7`."""
    from importlib import resources  # Whoever asks what a file is does without.

    return resources.files(__package__).joinpath("record.lua").read_text(encoding="utf-8")


def is_recording(root: Any) -> bool:
    """Whether what a `.t7` file holds is a recording."""
    return isinstance(root, Table) and root.get("format") == FORMAT
