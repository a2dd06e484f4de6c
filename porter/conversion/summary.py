"""What came of a conversion, for people: a screen of text that ends with the next command.

The whole table of layers is the terminal's affair (`porter/report/console.py`); here stands what a
user reads first: the verdict, the layer that came closest to its tolerance, warnings, files, sizes.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from porter.conversion.free_axes import free_text
from porter.imaging.image_spec import geometry_from
from porter.parity import compare as parity
from porter.parity.measure import Measure, error_shown
from porter.report.as_json import worst_layer, worst_rows
from porter.report.sizes import size_shown

if TYPE_CHECKING:
    from porter.conversion.manifest import Manifest
    from porter.conversion.pipeline import Conversion

MAX_WARNINGS = 3
"""Warnings that a summary shows; it counts the others, and `manifest.json` has all."""
MAX_NOTES = 4
"""Notes on single layers that are shown; `manifest.json` has all."""
STYLIZED = {"saved_model", "keras", "tflite"}
"""Formats that `porter stylize` runs."""


def summary(done: Conversion, every_warning: bool = False, files: bool = True) -> str:
    """Verdict, worst layer, warnings, files, sizes and the next command, in about fifteen lines.

    `files` says whether each file has a line of its own.
    """
    signature = "; ".join(
        f"{name} {sizes(each['shape'])}" for name, each in done.manifest["signature"].items()
    )
    kept = done.manifest["geometry"]
    geometry = geometry_from(kept) if kept else None
    return "\n".join(
        [
            verdict(done),
            worst_layer(worst_rows(done.reports)),
            *in_float64(done),
            f"after reload in a fresh process: {reloaded_error(done)}",
            *first(done.manifest["warnings"], "warning", None if every_warning else MAX_WARNINGS),
            *first([note for each in done.reports for note in each.notes], "note", MAX_NOTES),
            *(file_lines(done) if files else []),
            f"input size: {done.manifest['input_size']}; "
            f"{free_text(done.manifest['free'], geometry)}",
            f"signature: {signature}; {done.manifest['transposes']} transposes in the graph",
            *pictures(done),
            f"written: {done.output} ({', '.join(done.manifest['formats'])})",
            *next_step(done.output, done.manifest),
        ]
    )


def one_line(done: Conversion) -> str:
    """The verdict, the number of warnings and what was written."""
    count = len(done.manifest["warnings"])
    warned = f"; {count} {'warning' if count == 1 else 'warnings'}" if count else ""
    return f"{verdict(done)}{warned}; written: {done.output}"


def verdict(done: Conversion) -> str:
    """What was compared, and with what."""
    layers, inputs = len(worst_rows(done.reports)), len(done.reports)
    return (
        f"parity: pass on {counted(inputs, 'input')} and {counted(layers, 'layer')}; "
        f"oracle: {oracles(done)}"
    )


def in_float64(done: Conversion) -> list[str]:
    """A line where layers were not compared in float64 on every input."""
    computed = [
        each
        for each in done.reports
        if each.oracle != parity.LEFT_IN_FILE and any(row.isolated for row in each.rows)
    ]
    count = sum(each.in_float64 for each in computed)
    if count == len(computed):
        return []
    shown = f"{count} of {counted(len(computed), 'input')}" if count else "no input"
    return [f"compared in float64, too: on {shown}, for activations or weights are large"]


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def oracles(done: Conversion) -> str:
    """Who says what is right: of the inputs, and what Torch left in the file if it agrees."""
    left = [each.input for each in done.reports if each.oracle == parity.LEFT_IN_FILE]
    return ", and ".join([done.manifest["oracle"], *left])


def reloaded_error(done: Conversion) -> str:
    """The worst error of the written files, of the exact ones where there are any."""
    computed = [each for each in done.emitted if each.measure]
    if not computed:
        return "nothing that is run"
    exact = [each for each in computed if each.exact]
    worst = Measure.worst([each.measure for each in exact or computed if each.measure])
    return f"{worst.max_rel:.1e} of the output's scale"


def first(lines: list[str], kind: str, limit: int | None) -> list[str]:
    """The first lines with their kind before them, and how many more there are."""
    shown = [f"{kind}: {each}" for each in lines[:limit]]
    more = len(lines) - len(shown)
    return [*shown, f"{kind}: and {more} more, in manifest.json"] if more else shown


def file_lines(done: Conversion) -> list[str]:
    """A line for each file: its size, its error after it was loaded again, a note."""
    rows = [
        (
            each.label,
            size_shown(each.bytes),
            error_shown(each.measure.max_rel if each.measure else None),
            each.note,
        )
        for each in done.emitted
    ]
    rows.insert(0, ("format", "size", "error", "note"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        f"  {label:{widths[0]}}  {size:>{widths[1]}}  {error:>{widths[2]}}  {note}".rstrip()
        for label, size, error, note in rows
    ]


def pictures(done: Conversion) -> list[str]:
    """A line on what the numbers mean where that is known."""
    spec = done.manifest["pictures"]
    if spec is None:
        return []
    proof = next((each.note for each in done.emitted if each.name == "saved_model"), "")
    proof = proof.partition("; ")[0]
    return [f"pictures: preset {spec['preset']['name']} ({spec['why']}); {proof}".rstrip("; ")]


def next_step(output: Path, manifest: Manifest) -> list[str]:
    """A command for a net that makes images; else how to load what was written, in Python."""
    formats, spec = manifest["formats"], manifest["pictures"]
    if spec is not None and spec["preset"].get("output") and STYLIZED & set(formats):
        return [f"next: porter stylize {shlex.quote(str(output))} photo.png -o result.png"]
    names = [name for name in manifest["signature"] if name.startswith("input")]
    example = example_of(output, names, formats)
    if not example and "web" in formats:
        folder = shlex.quote(str(output / "web"))
        return [f"next: python -m http.server -d {folder}, and open http://localhost:8000"]
    if not example:
        return []
    signature = manifest["signature"]
    shapes = ", ".join(
        f"{name} {signature[name]['dtype']} {sizes(signature[name]['shape'])}" for name in names
    )
    *before, last = example
    return ["next, in Python:", *(f"    {line}" for line in before), f"    {last}  # {shapes}"]


def example_of(output: Path, inputs: list[str], formats: list[str]) -> list[str]:
    """Three lines of Python that load and run the first of the formats that computes."""

    def path(name: str) -> str:
        return repr(str(output / name))

    arguments = ", ".join(inputs)
    call = arguments if len(inputs) == 1 else f"[{arguments}]"
    loading = {
        "saved_model": [
            "import tensorflow as tf",
            f"port = tf.saved_model.load({path('saved_model')})",
            f"output = port({arguments})",
        ],
        "keras": [
            "import keras",
            *custom_layers(output),
            f"model = keras.models.load_model({path('model.keras')})",
            f"output = model({call})",
        ],
        "frozen": [
            "import tensorflow as tf",
            f"port = tf.saved_model.load({path('frozen')}).signatures['serving_default']",
            f"output = port({', '.join(f'{name}={name}' for name in inputs)})",
        ],
        "onnx": [
            "import onnxruntime",
            f"port = onnxruntime.InferenceSession({path('model.onnx')})",
            f"(output,) = port.run(None, {{{', '.join(f'{name!r}: {name}' for name in inputs)}}})",
        ],
    }
    return next((lines for name, lines in loading.items() if name in formats), [])


def custom_layers(output: Path) -> list[str]:
    """What to import before a Keras model with layers that Keras lacks."""
    if not (output / "layers.py").exists():
        return []
    return [f"import sys; sys.path.append({str(output)!r}); import layers"]


def sizes(shape: list[int | None]) -> str:
    """A shape as the signature has it; `?` is free."""
    return "×".join("?" if size is None else str(size) for size in shape)
