"""Paint fixtures/styles/: pictures whose style is easy to see, and belongs to nobody else.

python tools/make_style_pictures.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "fixtures" / "styles"
SIZE, OVER = 256, 3
NIGHT = (
    (18, 34, 92),
    (30, 66, 140),
    (58, 118, 182),
    (124, 176, 204),
    (238, 200, 72),
    (246, 232, 160),
)
GLASS = (
    (186, 40, 44),
    (232, 158, 36),
    (28, 92, 148),
    (42, 142, 110),
    (238, 224, 188),
    (96, 40, 110),
)


def strokes(random: np.random.Generator) -> Image.Image:
    """Short brush strokes along the eddies of a flow, dark blue to yellow."""
    side = SIZE * OVER
    picture = Image.new("RGB", (side, side), NIGHT[0])
    draw = ImageDraw.Draw(picture)
    centres = random.uniform(0, side, (7, 2))
    turns = random.choice([-1.0, 1.0], 7)
    for _ in range(9000):
        place = random.uniform(0, side, 2)
        away = place - centres
        distance = np.linalg.norm(away, axis=1) + 20
        flow = (
            (np.stack([-away[:, 1], away[:, 0]], 1) * turns[:, None]) / distance[:, None] ** 2
        ).sum(0)
        flow /= np.linalg.norm(flow) + 1e-9
        ring = 0.5 + 0.5 * np.cos(distance.min() / 26)
        tone = np.clip(ring * 4.6 + random.normal(0, 0.5), 0, 5)
        colour = tuple(int(c + random.normal(0, 9)) for c in NIGHT[int(tone)])
        length, width = random.uniform(26, 52), int(random.uniform(6, 11))
        ends = [tuple(place - flow * length / 2), tuple(place + flow * length / 2)]
        draw.line(ends, fill=colour, width=width)
    return picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def mosaic(random: np.random.Generator) -> Image.Image:
    """Coloured glass in dark leads: the cells of scattered points."""
    side = SIZE * 2
    points = random.uniform(0, side, (420, 2))
    colours = np.array(GLASS)[random.integers(len(GLASS), size=420)] + random.normal(
        0, 14, (420, 3)
    )
    rows, columns = np.mgrid[0:side, 0:side]
    first = np.full((side, side), np.inf)
    second, owner = first.copy(), np.zeros((side, side), int)
    for number, (y, x) in enumerate(points):
        distance = np.hypot(rows - y, columns - x)
        nearer = distance < first
        second = np.where(nearer, first, np.minimum(second, distance))
        owner = np.where(nearer, number, owner)
        first = np.where(nearer, distance, first)
    lit = colours[owner] * (1.08 - 0.012 * first[..., None])
    lead = np.clip((second - first - 2.5) / 2.5, 0, 1)[..., None]
    levels = np.clip(lit * lead + 22 * (1 - lead), 0, 255).astype(np.uint8)
    return Image.fromarray(levels).resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    for seed, paint in enumerate((strokes, mosaic), start=1):
        paint(np.random.default_rng(seed)).save(TARGET / f"{paint.__name__}.png", optimize=True)


if __name__ == "__main__":
    main()
