"""Chart of the errors of all layers on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from porter.parity.compare import Row, Tolerance, measured
from porter.parity.measure import Measure

WIDTH, HEIGHT = 960.0, 340.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 12.0, 14.0, 26.0


@dataclass(frozen=True)
class Dot:
    """One layer's error: 0 lies on the axis, infinity at the top; `bad` is a level."""

    x: float
    y: float
    tooltip: str
    level: str


@dataclass(frozen=True)
class ChartLine:
    """A labelled horizontal line: a tolerance or a power of ten."""

    y: float
    name: str


@dataclass(frozen=True)
class Chart:
    """The input of the SVG template."""

    isolated: tuple[Dot, ...]
    accumulated: tuple[Dot, ...]
    noise: tuple[str, ...]
    ticks: tuple[ChartLine, ...]
    tolerances: tuple[tuple[str, ChartLine], ...]
    names: tuple[tuple[float, str], ...]
    accumulated_path: str = ""
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = field(default=WIDTH - RIGHT)
    bottom: float = field(default=HEIGHT - BOTTOM)


def chart(rows: Sequence[Row], tolerance: Tolerance) -> Chart:
    """The chart of a report's rows, from left to right in the order in which Torch runs them."""
    errors = [
        value
        for row in rows
        for value in (measured(row.isolated), measured(row.accumulated), row.noise)
        if value and math.isfinite(value)
    ]
    low = math.floor(math.log10(max(min(errors, default=1e-8), 1e-17)))
    high = math.ceil(math.log10(max([*errors, 10 * tolerance.accumulated])))

    def y(error: float) -> float:
        if math.isinf(error):
            return TOP
        exponent = math.log10(error) if error > 0 else low
        share = (min(max(exponent, low), high) - low) / (high - low)
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)

    step = (WIDTH - LEFT - RIGHT) / max(len(rows), 1)
    xs = [LEFT + (i + 0.5) * step for i in range(len(rows))]
    isolated = dots(rows, xs, y, "isolated")
    accumulated = dots(rows, xs, y, "accumulated")
    half = step * 0.42
    return Chart(
        isolated,
        accumulated,
        tuple(
            f"M{x - half:.1f} {y(row.noise):.1f}H{x + half:.1f}"
            for x, row in zip(xs, rows, strict=True)
            if row.noise
        ),
        tuple(ChartLine(y(10.0**power), f"1e{power}") for power in range(low, high + 1)),
        (
            ("isolated", ChartLine(y(tolerance.isolated), f"isolated ≤ {tolerance.isolated:.0e}")),
            (
                "accumulated",
                ChartLine(y(tolerance.accumulated), f"accumulated ≤ {tolerance.accumulated:.0e}"),
            ),
        ),
        tuple(zip(xs[:: every(len(rows))], names(rows)[:: every(len(rows))], strict=True)),
        "M" + "L".join(f"{dot.x:.1f} {dot.y:.1f}" for dot in accumulated) if accumulated else "",
    )


def dots(
    rows: Sequence[Row], xs: Sequence[float], y: Callable[[float], float], kind: str
) -> tuple[Dot, ...]:
    """A dot for each row that has this measure."""
    found: list[Dot] = []
    for x, row in zip(xs, rows, strict=True):
        measure: Measure | None = getattr(row, kind)
        if measure is not None:
            text = f"{row.path or 'the root'} {row.type}: {kind} {measure.max_rel:.2e}"
            passed = measure.within(getattr(row.tolerance, kind))
            found.append(Dot(x, y(measure.max_rel), text, "" if passed else "bad"))
    return tuple(found)


def names(rows: Sequence[Row]) -> list[str]:
    return [row.path or "root" for row in rows]


def every(count: int) -> int:
    """The step between the paths labelled below the axis: about a dozen in all."""
    return max(1, math.ceil(count / 12))
