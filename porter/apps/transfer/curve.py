"""The losses of a run as an image: one line each over the evaluations, on a logarithmic axis."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from porter.apps.transfer.objective import Losses
from porter.imaging.photos import format_of, pillow
from porter.system.atomic import write_bytes

WIDTH, HEIGHT = 960, 420
LEFT, RIGHT, TOP, BOTTOM = 76, 116, 18, 34
COLOURS = {
    "total": (30, 30, 30),
    "content": (32, 104, 180),
    "style": (196, 62, 40),
    "variation": (64, 140, 70),
}
DECADES = 12
"""What lies further below the largest loss is drawn at the foot."""
GRID, TEXT = (222, 222, 222), (90, 90, 90)


def write_curve(path: Path, history: Sequence[tuple[int, Losses]]) -> None:
    """Draw and write; the file appears whole or not at all. Raises EmitError, UsageError."""
    content = io.BytesIO()
    draw_curve(history).save(content, format_of(path))
    write_bytes(path, content.getvalue())


def draw_curve(history: Sequence[tuple[int, Losses]]) -> Any:
    """The image. A thin line stands where a run went on to the next size."""
    pil = pillow()
    import PIL.ImageDraw
    import PIL.ImageFont

    image = pil.Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = PIL.ImageDraw.Draw(image)
    font = PIL.ImageFont.load_default(13)
    lines = {
        name: [getattr(losses, name) for _, losses in history]
        for name in COLOURS
        if any(getattr(losses, name) > 0 for _, losses in history)
    }
    low, high = decades([value for values in lines.values() for value in values])

    def across(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (step - 1) / max(len(history) - 1, 1)

    def up(value: float) -> float:
        share = (math.log10(max(value, 10.0**low)) - low) / (high - low)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    for power in range(low, high + 1, max(1, (high - low) // 8)):
        y = up(10.0**power)
        draw.line([(LEFT, y), (WIDTH - RIGHT, y)], fill=GRID)
        draw.text((LEFT - 8, y), f"1e{power}", fill=TEXT, font=font, anchor="rm")
    for step in ticks(len(history)):
        draw.text((across(step), HEIGHT - BOTTOM + 8), str(step), fill=TEXT, font=font, anchor="mt")
    for step in range(1, len(history)):
        if history[step][0] != history[step - 1][0]:
            draw.line([(across(step + 0.5), TOP), (across(step + 0.5), HEIGHT - BOTTOM)], fill=TEXT)
    labels: list[float] = []
    for name, values in lines.items():
        points = [(across(step), up(value)) for step, value in enumerate(values, start=1)]
        draw.line(points, fill=COLOURS[name], width=2)
        # Names of lines that end together stand below each other.
        y = points[-1][1]
        while any(abs(y - other) < 15 for other in labels):
            y += 3
        labels.append(y)
        draw.text((WIDTH - RIGHT + 8, y), name, fill=COLOURS[name], font=font, anchor="lm")
    return image


def decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten between which all losses lie that are worth drawing."""
    positive = [value for value in values if value > 0 and math.isfinite(value)]
    high = math.ceil(math.log10(max(positive, default=1.0)) + 1e-9)
    low = math.floor(math.log10(min(positive, default=0.1)))
    return max(low, high - DECADES), max(high, low + 1)


def ticks(count: int) -> list[int]:
    """At most ten round steps."""
    sizes = (digit * 10**power for power in range(9) for digit in (1, 2, 5))
    size = next(size for size in sizes if count / size <= 10)
    return list(range(size, count + 1, size))
