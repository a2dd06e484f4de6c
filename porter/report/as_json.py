"""Parity reports as JSON, and the reports of several inputs combined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from porter.errors import printable

if TYPE_CHECKING:
    from porter.emit.formats import ExportResult
    from porter.parity.compare import Report, Row
    from porter.parity.diagnosis import Hint
    from porter.parity.measure import Measure


SCHEMA = 1


def worst_rows(reports: Sequence[Report]) -> list[Row]:
    """For every module the row of its worst input, in Torch's order."""
    chosen: dict[tuple[str, int], Row] = {}
    for report in reports:
        for row in report.rows:
            key = (row.path, row.count)
            if key not in chosen or badness(row) > badness(chosen[key]):
                chosen[key] = row
    return list(chosen.values())


def badness(row: Row) -> tuple[bool, bool, float]:
    """Sort key of a row: failures first, then the largest error."""
    errors = [m.max_rel for m in (row.isolated, row.accumulated) if m is not None]
    return (not row.passed, row.problem is not None, max(errors, default=0.0))


def report_json(reports: Sequence[Report], emitted: Sequence[ExportResult] = ()) -> dict[str, Any]:
    """The parity report of one or several inputs, and a row for each emitted format."""
    rows = worst_rows(reports)
    diverging = next((row for row in rows if not row.passed), None)
    return {
        "schema": SCHEMA,
        "verdict": "pass" if diverging is None else "fail",
        "oracle": reports[0].oracle if reports else None,
        "first_diverging": None if diverging is None else diverging.path,
        "inputs": [report.input for report in reports],
        "float64_inputs": [report.input for report in reports if report.in_float64],
        "layers": [row_json(row) for row in rows],
        "emitted": [emitted_json(each) for each in emitted],
    }


def emitted_json(emitted: ExportResult) -> dict[str, Any]:
    """The result of one format, after it was loaded again."""
    return {
        "format": emitted.name,
        "variant": emitted.variant,
        "bytes": emitted.bytes,
        "error": measure_json(emitted.measure),
        "exact": emitted.exact,
        "note": emitted.note,
        "details": emitted.details,
    }


def row_json(row: Row) -> dict[str, Any]:
    """One layer's row."""
    return {
        "path": row.path,
        "call": row.count,
        "type": row.type,
        "shape": row.shape,
        "oracle": row.oracle,
        "isolated": measure_json(row.isolated),
        "accumulated": measure_json(row.accumulated),
        "float64": finite(row.float64),
        "noise_floor": finite(row.noise),
        "times_noise": times_noise(row),
        "status": "pass" if row.passed else "fail",
        "inherited": row.inherited,
        "note": row.note,
        "nonfinite": row.nonfinite,
        "hint": hint_json(row.hint),
    }


def warnings(reports: Sequence[Report]) -> list[str]:
    """Warnings about a port that passed."""
    rows = [row for report in reports for row in report.rows]
    lines = []
    first = next((row for row in rows if row.nonfinite), None)
    if first is not None:
        lines.append(
            f"{named(first)} makes NaN or infinity, and with it what "
            "follows: the model does so itself, and the port makes the same numbers"
        )
    usual = min((row.tolerance.accumulated for row in rows), default=0.0)
    most = max(rows, key=lambda row: row.tolerance.accumulated, default=None)
    if most is not None and most.tolerance.accumulated > usual and most.accumulated is not None:
        lines.append(
            f"the model amplifies rounding: at {named(most)} the port is "
            f"{most.accumulated.max_rel:.1e} of the scale from the oracle, where {most.note}"
        )
    return lines


def worst_layer(rows: Sequence[Row]) -> str:
    """The layer that came closest to its tolerance, with its error and the tolerance."""
    row = max(rows, key=lambda row: row.strain, default=None)
    if row is None or not row.errors:
        return "worst layer: no layer was compared by itself"
    name, error, limit = max(row.errors, key=lambda each: each[1] / each[2])
    return (
        f"worst layer: {printable(row.path) or 'the root'} ({printable(row.type)}), {name} error "
        f"{error:.1e} of its scale (at most {limit:.0e})"
    )


def named(row: Row) -> str:
    """A layer for messages: path and class."""
    return f"{row.path or 'the root'} ({row.type})"


def hint_json(hint: Hint | None) -> dict[str, Any] | None:
    """The likely cause of a failing layer, with the evidence; never part of the verdict."""
    if hint is None:
        return None
    return {
        "cause": hint.cause,
        "explains": hint.side,
        "before": finite(hint.before),
        "after": finite(hint.after),
        "text": hint.text(),
    }


def finite(number: float | None) -> float | None:
    """None in place of NaN and infinity, which JSON lacks."""
    return number if number is not None and math.isfinite(number) else None


def times_noise(row: Row) -> float | None:
    """The isolated error in units of what float32 rounding alone explains."""
    if row.isolated is None or not row.noise or not math.isfinite(row.isolated.max_rel):
        return None
    return row.isolated.max_rel / row.noise


def measure_json(measure: Measure | None) -> dict[str, Any] | None:
    """A measure; infinite numbers become null, next to the problem."""
    if measure is None:
        return None

    return {
        "max_abs": finite(measure.max_abs),
        "max_rel": finite(measure.max_rel),
        "p50": finite(measure.p50),
        "p99": finite(measure.p99),
        "cosine": finite(measure.cosine),
        "worst_index": list(measure.worst_index),
        "problem": measure.problem,
        "nonfinite": measure.nonfinite,
    }
