"""The Lua script with which a user of Torch7 records reference activations."""

from __future__ import annotations

from importlib import resources


def script() -> str:
    """The text of `record.lua`: `th record.lua model.t7 input.t7 acts.t7`."""
    return resources.files(__package__).joinpath("record.lua").read_text(encoding="utf-8")
