"""The GPU's figures as a section of Markdown, and the machine they are of."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib import metadata
from statistics import median
from typing import Any

from benchmarks.table import processor

LEVELS = ("exact", "fast")


def machine(cpu: bool) -> dict[str, Any]:
    """Date, card, driver and versions; `gpu` is None where TensorFlow sees none."""
    from porter.system.tensorflow import tf

    cards = [] if cpu else tf.config.list_physical_devices("GPU")
    details = tf.config.experimental.get_device_details(cards[0]) if cards else {}
    build = tf.sysconfig.get_build_info()
    return {
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "rehearsal": cpu,
        "gpu": details.get("device_name", "of no name") if cards else None,
        "driver": driver() if cards else None,
        "cuda": build.get("cuda_version"),
        "cudnn": build.get("cudnn_version"),
        "processor": processor(),
        "threads": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": version("keras"),
        "torch": version("torch"),
    }


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.split()[0]


def markdown(found: dict[str, Any]) -> str:
    """Heading, verdicts, times, and at the end every net's errors."""
    parts = ["## GPU", heading(found), *parity(found), *times(found), *remarks(found)]
    if found["parity"]:
        parts += ["### Every net", every_net(found["parity"])]
    return "\n\n".join(parts)


def heading(found: dict[str, Any]) -> str:
    names = ("python", "tensorflow", "keras", "torch")
    versions = [f"{name} {found[name]}" for name in names if found[name]]
    where = f"{found['processor']}, {found['threads']} threads"
    if found["gpu"]:
        build = [f"{name} {found[name]}" for name in ("cuda", "cudnn") if found[name]]
        where = ", ".join([found["gpu"], f"driver {found['driver']}", *build, where])
    what = "**A rehearsal on the CPU: no GPU was used.** " if found["rehearsal"] else ""
    return (
        f"{what}{found['date']}, {where}; {', '.join(versions)}; {found['seconds']:.0f} s in all."
    )


def parity(found: dict[str, Any]) -> list[str]:
    """How many nets passed, and the largest errors, for each setting of TF32."""
    if not found["parity"]:
        return []
    lines = []
    for tf32 in (False, True):
        rows = [row for row in found["parity"] if row["tf32"] == tf32]
        nets = {row["net"] for row in rows}
        failing = {row["net"] for row in rows if not row["passed"]}
        judged = "not judged; " if tf32 else ""
        missing = len(found["left_out"].get(f"parity, TF32 {'on' if tf32 else 'off'}", ()))
        left_out = f", {missing} left out for time" if missing else ""
        lines.append(
            f"- TF32 {'on' if tf32 else 'off'}: {judged}{len(nets) - len(failing)} of {len(nets)} "
            f"nets within porter's tolerance at both levels{left_out}; largest error against "
            f"Torch7's recording {largest(rows, 'torch7')}, "
            f"against float64 {largest(rows, 'float64')}; "
            f"nearest to its tolerance {largest(rows, 'of_tolerance', 'of it')}"
        )
    intro = (
        "Nets that real Torch7 recorded, served at the levels `exact` and `fast`. Errors are "
        "largest differences in standard deviations (σ) of the output; the tolerance is porter's, "
        "in parts of the output's largest magnitude."
    )
    return ["### Parity", intro, "\n".join(lines)]


def largest(rows: Iterable[dict[str, Any]], name: str, unit: str = "σ") -> str:
    known = [row for row in rows if row.get(name) is not None]
    if not known:
        return "–"
    worst = max(known, key=lambda row: row[name])
    return f"{worst[name]:.1e} {unit} ({worst['net']})"


def times(found: dict[str, Any]) -> list[str]:
    """A table for each net; ratios are the time of `none` over the row's."""
    if not found["times"]:
        return []
    intro = (
        "Milliseconds of a call, until the device has computed the output, which stays there; in "
        "turn. `×` is the median of `none` over the row's: above 1 is faster. `open` builds the "
        "graph; in the first call kernels are chosen, and XLA compiles. Errors are against "
        "float64 on the CPU, in σ."
    )
    parts = ["### Times", intro]
    for net in found["times"]:
        base: list[float] = next((r["times"] for r in net["rows"] if r["runtime"] == "none"), [])
        lines = [
            "| runtime | median ms | min ms | × | open s | first call s | error |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
            *(f"| {' | '.join(cells(row, base))} |" for row in net["rows"]),
        ]
        parts += [f"#### {net['name']}", "\n".join(lines)]
    return parts


def cells(row: dict[str, Any], base: list[float]) -> list[str]:
    if not row["times"]:
        return [row["runtime"], row["problem"] or "not timed", *[""] * 5]
    took = median(row["times"])
    ratio = f"{median(base) / took:.2f}" if base else ""
    return [
        row["runtime"], f"{took:.2f}", f"{min(row['times']):.2f}", ratio,
        f"{row['open']:.1f}", f"{row['first']:.1f}", f"{row['error']:.1e}",
    ]  # fmt: skip


def remarks(found: dict[str, Any]) -> list[str]:
    """What failed and what was left out, in full."""
    parts = []
    left_out = [
        f"{label}: {len(names)} ({', '.join(names)})" for label, names in found["left_out"].items()
    ]
    for title, lines in (
        ("Failed", found["failed"] + found["problems"]),
        ("Left out for time", left_out),
    ):
        parts += [f"### {title}", "\n".join(f"- {line}" for line in lines) or "Nothing."]
    return parts


def every_net(rows: list[dict[str, Any]]) -> str:
    """A row for each net: the larger of both errors, by level and TF32; the largest first."""
    by_net: dict[str, dict[tuple[bool, str], dict[str, Any]]] = {}
    for row in rows:
        by_net.setdefault(row["net"], {})[row["tf32"], row["level"]] = row
    columns = [(tf32, level) for tf32 in (False, True) for level in LEVELS]
    lines = [
        "| net | exact | fast | exact, TF32 | fast, TF32 | TF32 off |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    order = sorted(by_net, key=lambda net: -max(map(error, by_net[net].values())))
    for net in order:
        found = by_net[net]
        shown = [shown_error(found.get(column)) for column in columns]
        lines.append(f"| {' | '.join([net, *shown, verdict(found)])} |")
    return "\n".join(lines)


def error(row: dict[str, Any]) -> float:
    known = [row[name] for name in ("torch7", "float64") if row.get(name) is not None]
    return max(known, default=float("inf"))


def shown_error(row: dict[str, Any] | None) -> str:
    if row is None:
        return "left out"
    return row["problem"] or f"{error(row):.1e}"


def verdict(found: dict[tuple[bool, str], dict[str, Any]]) -> str:
    judged = [row for (tf32, _), row in found.items() if not tf32]
    if not judged:
        return "left out"
    if all(row["passed"] for row in judged):
        return "within"
    return f"**not within {judged[0].get('tolerance', 0):.0e}**"
