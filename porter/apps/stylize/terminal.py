"""A line of `porter stylize` on the terminal."""

from __future__ import annotations

from rich.text import Text

from porter.apps.stylize.stylize import StylizeResult


def stylized_line(result: StylizeResult) -> Text:
    """One picture of `porter stylize`."""
    sizes = [f"{size[1]}×{size[0]}" for size in (result.size, result.output_size) if size]
    line = Text(f"{result.source} → {result.target}  {' → '.join(dict.fromkeys(sizes))}")
    for note in result.notes:
        line.append(f"\n    {note}")
    return line
