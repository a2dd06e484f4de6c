"""A line of `porter stylize` on the terminal."""

from __future__ import annotations

from rich.text import Text

from porter.apps.stylize.stylize import StylizeResult
from porter.errors import printable


def stylized_line(result: StylizeResult) -> Text:
    """One picture of `porter stylize`."""
    sizes = [f"{size[1]}×{size[0]}" for size in (result.size, result.output_size) if size]
    names = " → ".join(printable(str(path), limit=4_000) for path in (result.source, result.target))
    line = Text(f"{names}  {' → '.join(dict.fromkeys(sizes))}")
    for note in result.notes:
        line.append(f"\n    {note}")
    return line


def time_left(first: int, done: int, count: int | None, seconds: float) -> str:
    """About how long the frames that are left take, where `done - first` took so many seconds."""
    if count is None or done <= first:
        return ""
    left = max(0, count - done) * seconds / (done - first)
    minutes = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
    return f", about {minutes} left"
