"""Print what every format makes of some nets, as Markdown: net × file × error × size × note.

    python tools/format_table.py fixtures/nets/* fixtures/trained/*
    python tools/format_table.py --compact docs/formats-table.md

A net is a `.t7` file, or a folder with `model.t7` and perhaps Torch's `activations.t7`. Errors are
in units of the output's scale, after the file was loaded again in a fresh process. A format that a
net cannot be written in has a row with the reason. `--compact` prints one line a net of a table
that was made before: the error of each format, the PSNR of quantised ones.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from porter import convert  # noqa: E402
from porter.emit.formats import ExportResult  # noqa: E402
from porter.errors import ParityError, PorterError  # noqa: E402
from porter.parity.measure import error_shown  # noqa: E402
from porter.report.sizes import size_shown  # noqa: E402

FORMATS = "saved_model,checkpoint,keras,source,frozen,tflite,weights"
HEADER = "| net | file | error | size | note |\n|---|---|---:|---:|---|"
COMPACT = {
    "saved_model": "saved_model/",
    "keras": "keras/",
    "source": "source/",
    "frozen": "frozen.pb",
    "tflite": "model.tflite",
    "float16": "model.float16.tflite",
    "dynamic": "model.dynamic.tflite",
}
"""Columns of the compact table, and the files that they are of."""
SIZE = "weights.npz"


def main() -> int:
    """Print the table; returns 1 if a format failed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("nets", type=Path, nargs="*")
    options.add_argument("--format", default=FORMATS)
    options.add_argument("--tflite", default="float32,float16,dynamic")
    options.add_argument("--weights", default="npz,safetensors,h5")
    options.add_argument("--isolated", type=float, default=1e-5)
    options.add_argument("--accumulated", type=float, default=1e-4)
    options.add_argument("--compact", type=Path, metavar="TABLE.md")
    chosen = options.parse_args()
    if chosen.compact:
        print(compact(chosen.compact.read_text(encoding="utf-8")))
        return 0
    failures = 0
    print(HEADER)
    for net in chosen.nets:
        model = net / "model.t7" if net.is_dir() else net
        name = net.name if net.is_dir() else net.stem
        formats = tuple(chosen.format.split(","))
        kinds = tuple(chosen.tflite.split(",")), tuple(chosen.weights.split(","))
        limits = chosen.isolated, chosen.accumulated
        for row in rows_of(model, formats, *kinds, limits):
            failures += isinstance(row, str)
            print(f"| {name} | {row if isinstance(row, str) else shown(row)} |", flush=True)
    return 1 if failures else 0


def rows_of(
    model: Path,
    formats: tuple[str, ...],
    tflite: tuple[str, ...],
    weights: tuple[str, ...],
    limits: tuple[float, float],
) -> Iterator[ExportResult | str]:
    """Rows of all formats; where they fail as a whole, of each format and kind by itself."""
    recorded = model.with_name("activations.t7")
    with tempfile.TemporaryDirectory(prefix="porter-table-") as folder:
        try:
            port = convert(
                model,
                output=Path(folder, "port"),
                reference=recorded if recorded.is_file() else None,
                isolated=limits[0],
                accumulated=limits[1],
                formats=formats,
                tflite=tflite,
                weights=weights,
            )
            yield from port.emitted
        except PorterError as error:
            verified = not (isinstance(error, ParityError) and error.reports)
            if verified and len(formats) > 1:
                for name in formats:
                    yield from rows_of(model, (name,), tflite, weights, limits)
            elif verified and formats == ("tflite",) and len(tflite) > 1:
                for kind in tflite:
                    yield from rows_of(model, formats, (kind,), weights, limits)
            else:
                yield f"{failed_file(formats, tflite)} | failed | – | {reason(error)}"


def failed_file(formats: tuple[str, ...], tflite: tuple[str, ...]) -> str:
    """What could not be written."""
    if formats != ("tflite",):
        return ", ".join(formats)
    return ", ".join("model.tflite" if k == "float32" else f"model.{k}.tflite" for k in tflite)


def reason(error: PorterError) -> str:
    """Why, in one line; what was received says it shortest."""
    return " ".join((error.received or error.message).split()).replace("|", "\\|")


def shown(row: ExportResult) -> str:
    """The cells of one row."""
    error = row.measure.max_rel if row.measure else None
    name = "frozen/" if row.variant == "frozen" else row.variant or f"{row.name}/"
    return f"{name} | {error_shown(error)} | {size_shown(row.bytes)} | {row.note}"


def compact(table: str) -> str:
    """One line a net of a whole table."""
    nets: dict[str, dict[str, tuple[str, str, str]]] = {}
    lines_of_files = [line for line in table.splitlines() if line.startswith("| ")]
    for line in lines_of_files[1:]:
        net, file, error, size, note = (cell.strip() for cell in line.strip("|").split(" | "))
        nets.setdefault(net, {})[file] = (error, size, note)
    heads = ["net", *COMPACT, "weights"]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for net, files in nets.items():
        cells = [cell(*files[file]) if file in files else "–" for file in COMPACT.values()]
        lines.append([net, *cells, files.get(SIZE, ("", "–", ""))[1]])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(error: str, size: str, note: str) -> str:
    """An error, or the PSNR of a quantised file; one that failed is struck out."""
    psnr = re.search(r"PSNR ([\d.]+|inf) dB", note)
    text = f"{psnr[1]} dB" if psnr else error
    return f"~~{text}~~" if error == "failed" else text


if __name__ == "__main__":
    sys.exit(main())
