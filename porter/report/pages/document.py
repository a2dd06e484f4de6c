"""The content of a report in any format: a verdict, the evidence, and its provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from porter.emit.formats import ExportResult
from porter.parity.compare import Report, Row, Tolerance
from porter.report.as_json import worst_rows

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Document:
    """One comparison: a conversion, passed or failed, or a diff."""

    title: str
    reports: tuple[Report, ...]
    emitted: tuple[ExportResult, ...] = ()
    facts: Facts = ()

    @property
    def rows(self) -> list[Row]:
        return worst_rows(self.reports)

    @property
    def diverging(self) -> Row | None:
        """The first layer that differs."""
        return next((row for row in self.rows if not row.passed), None)

    @property
    def passed(self) -> bool:
        return self.diverging is None

    @property
    def tolerance(self) -> Tolerance:
        return next((row.tolerance for row in self.rows), Tolerance())

    @property
    def oracle(self) -> str:
        return self.reports[0].oracle if self.reports else "none"

    def verdict(self) -> str:
        """One sentence."""
        rows, row = self.rows, self.diverging
        inputs = f"{len(self.reports)} input{'s' if len(self.reports) != 1 else ''}"
        if row is not None:
            failed = sum(not each.passed for each in rows)
            inherited = sum(each.inherited for each in rows)
            because = f", {inherited} of them because of an earlier one" if inherited else ""
            return (
                f"{failed} of {len(rows)} layers differ from {self.oracle}{because}; "
                f"first {row.path or 'the root'} ({row.type}): {row.summary()}"
            )
        worst = max((r.accumulated.max_rel for r in rows if r.accumulated), default=0.0)
        return (
            f"all {len(rows)} layers agree with {self.oracle} on {inputs}; "
            f"the largest accumulated error is {worst:.1e} of its layer's scale"
        )

    def worst(self) -> list[Row]:
        """The layers with a thumbnail, worst isolated error first."""
        shown = [row for row in self.rows if row.thumbnail is not None and row.isolated]
        return sorted(shown, key=lambda row: -row.isolated.max_rel if row.isolated else 0)[:6]


def facts_of(manifest: Mapping[str, Any], seconds: float) -> Facts:
    """Provenance of a conversion, from its manifest."""
    source, options = manifest["source"], manifest["options"]
    tolerance, versions = manifest["tolerance"], manifest["versions"]
    signature = "; ".join(
        f"{name} {'×'.join('?' if size is None else str(size) for size in each['shape'])}"
        for name, each in manifest["signature"].items()
    )
    return (
        ("model", f"{source['name']}, {source['bytes']:,} bytes, Torch7 {source['format']}"),
        ("sha256", source["sha256"]),
        ("oracle", manifest["oracle"]),
        ("inputs", "; ".join(manifest["inputs"])),
        ("batch normalisation", options["bn"]),
        ("seed", str(options["seed"])),
        ("tolerances", ", ".join(f"{name} {limit:g}" for name, limit in tolerance.items())),
        ("signature", signature),
        ("layout", f"{manifest['data_format']}, {manifest['transposes']} transposes"),
        ("formats", ", ".join(manifest["formats"])),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("time", f"{seconds:.1f} s"),
    )


def facts_of_failure(reports: Sequence[Report], options: dict[str, str]) -> Facts:
    """The facts of a failed conversion, which has no manifest."""
    return (
        *options.items(),
        ("oracle", reports[0].oracle if reports else "none"),
        ("inputs", "; ".join(report.input for report in reports)),
    )
