"""Where in the object tree the parser is, for people."""

from __future__ import annotations

from porter.errors import printable
from porter.torch7.types import Key, LuaBoolean


def format_path(keys: list[Key], limit: int = 12) -> str:
    """`root.modules[3].weight`; the middle of a very long path is left out."""
    steps = [_format_step(key) for key in keys if key != ""]
    if len(steps) > limit:
        half = limit // 2
        steps = [*steps[:half], f"…({len(steps) - limit} more)…", *steps[-half:]]
    return "root" + "".join(steps)


def _format_step(key: Key) -> str:
    if isinstance(key, str):
        text = printable(key, 40)
        return text if text.startswith("<") else f".{text}"
    if isinstance(key, LuaBoolean):
        return f"[{str(key.value).lower()}]"
    return f"[{key}]"
