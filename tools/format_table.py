"""Print what every format makes of some nets, as Markdown: net × file × error × size × note.

    python tools/format_table.py fixtures/nets/* fixtures/trained/* --format saved_model,tflite

A net is a `.t7` file, or a folder with `model.t7` and perhaps Torch's `activations.t7`. Errors are
in units of the output's scale, after the file was loaded again in a fresh process. A format that a
net cannot be written in has a row with the reason.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from porter import Request, convert, recording  # noqa: E402
from porter.emit.formats import Emitted  # noqa: E402
from porter.emit.settings import TFLiteSettings, WeightSettings  # noqa: E402
from porter.errors import ParityError, PorterError  # noqa: E402
from porter.reports.console import number, size_shown  # noqa: E402

FORMATS = "saved_model,checkpoint,frozen,tflite,weights"
HEADER = "| net | file | error | size | note |\n|---|---|---:|---:|---|"


def main() -> int:
    """Print the table; returns 1 if a format failed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("nets", type=Path, nargs="+")
    options.add_argument("--format", default=FORMATS)
    options.add_argument("--tflite", default="float32,float16,dynamic")
    options.add_argument("--weights", default="npz,safetensors,h5")
    chosen = options.parse_args()
    settings = {
        "tflite": TFLiteSettings(tuple(chosen.tflite.split(","))),
        "weights": WeightSettings(tuple(chosen.weights.split(","))),
    }
    failures = 0
    print(HEADER)
    for net in chosen.nets:
        model = net / "model.t7" if net.is_dir() else net
        name = net.name if net.is_dir() else net.stem
        for row in rows_of(model, tuple(chosen.format.split(",")), settings):
            failures += isinstance(row, str)
            print(f"| {name} | {row if isinstance(row, str) else shown(row)} |", flush=True)
    return 1 if failures else 0


def rows_of(
    model: Path, formats: tuple[str, ...], settings: dict[str, object]
) -> Iterator[Emitted | str]:
    """Rows of all formats; where they fail as a whole, of each format by itself."""
    recorded = model.with_name("activations.t7")
    reference = recording.read(recorded) if recorded.is_file() else None
    with tempfile.TemporaryDirectory(prefix="porter-table-") as folder:
        request = Request(
            model, Path(folder, "port"), reference=reference, formats=formats, settings=settings
        )
        try:
            yield from convert(request).emitted
        except PorterError as error:
            verified = not (isinstance(error, ParityError) and error.reports)
            if verified and len(formats) > 1:
                for name in formats:
                    yield from rows_of(model, (name,), settings)
            else:
                reason = " ".join(str(error).split()).replace("|", "\\|")
                yield f"{', '.join(formats)} | failed | – | {reason}"


def shown(row: Emitted) -> str:
    """The cells of one row."""
    error = row.measure.max_rel if row.measure else None
    name = row.variant or f"{row.name}/"
    return f"{name} | {number(error)} | {size_shown(row.bytes)} | {row.note}"


if __name__ == "__main__":
    sys.exit(main())
