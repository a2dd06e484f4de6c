"""What porter's words mean: the one source of `porter help WORD` and of docs/glossary.md."""

from __future__ import annotations

import difflib

from porter.errors import UsageError

WORDS: dict[str, str] = {
    "accumulated": "The error of a layer that is fed by the port's own layers, in units of the "
    "scale. It tells whether what went wrong before matters here. See isolated.",
    "activation": "The output of a layer for one input. A recording holds those of every module.",
    "axis": "A direction of a tensor, counted from 0 as TensorFlow does; Torch's dimension "
    "counts from 1. A free axis takes any size, such as any batch, height and "
    "width.",
    "descriptor": "A trained classifier, usually VGG-16 or VGG-19, whose features say how "
    "alike two images are in content and style. `porter train`, `transfer` and "
    "`synthesize` need one.",
    "drift": "Errors that grew from one report to the next although the model is the same.",
    "fixture": "A model with outputs that Torch recorded, to be checked again and again by "
    "`porter check`.",
    "free": "Said of an axis of the exported model that takes any size.",
    "gate": "The comparisons that a port has to pass before anything is written: every layer, and "
    "every file after it was loaded again in a fresh process.",
    "hint": "A cause that would explain a failing layer, found by computing it again with "
    "one thing changed. It is never part of the verdict.",
    "identity": "A module that hands its input on unchanged. `--identity CLASS` treats an "
    "unknown class so.",
    "inherited": "Said of a layer that fails only because an earlier one does: fed the same "
    "input it computes the same.",
    "isolated": "The error of a layer that is fed the oracle's inputs, in units of the scale. "
    "It tells which layer is wrong. See accumulated.",
    "layer map": "The Python class that says what one Torch class computes: its fields, its "
    "shape rule, its reference in NumPy and its TensorFlow operations "
    "(CONTRIBUTING.md).",
    "layout": "The order of axes. Torch has N×C×H×W (channels_first), TensorFlow N×H×W×C "
    "(channels_last).",
    "level": "A brightness of one channel of one pixel in an 8-bit picture, 0 to 255.",
    "manifest": "`manifest.json` in a converted folder: source, versions, signature, "
    "warnings, errors, and the SHA-256 of every file.",
    "noise": "The error that float32 rounding alone explains, measured with NumPy in "
    "float32. The column ×noise is the isolated error in units of it: about 1 is as "
    "good as float32 gets.",
    "oracle": "The side that is right by definition in a comparison. The strongest is what a "
    "real Torch7 recorded; then what Torch left in the model file; without either, "
    "porter's own NumPy reference in float64. Every row of a report names its "
    "oracle.",
    "parity": "The agreement of every layer of the port with the oracle, within the tolerances.",
    "port": "The model in TensorFlow that porter writes.",
    "preset": "How images become the network's numbers and back: order of channels, range, "
    "mean and standard deviation. It is detected from the file, or chosen with "
    "`--preset` (docs/stylize.md).",
    "psnr": "Peak signal-to-noise ratio in dB: 20 · log₁₀(largest |output| / root of the "
    "mean squared error). Quantised files are judged by it.",
    "recipe": "The settings of one published system of style transfer, as a TOML file: "
    "losses, layers, weights, optimiser (docs/transfer.md).",
    "recording": "A file with the outputs of every module, written under Torch7 by the script "
    "of `porter record`, and given with `--reference`.",
    "reference": "The second, independent implementation of each layer, in NumPy. Without a "
    "recording it is the oracle.",
    "scale": "The largest magnitude of a layer's output according to the oracle. Errors are "
    "in units of it: 1e-5 means a hundred-thousandth of the largest number.",
    "shard": "A part of a list of images that one of several machines takes on.",
    "signature": "Names, shapes and dtypes of the inputs and outputs of a SavedModel.",
    "tolerance": "The largest error that passes: 1e-5 isolated, 1e-4 accumulated, 1e-10 in "
    "float64, in units of the scale. `--isolated` and `--accumulated` change the "
    "first two.",
    "zoo": "The published systems that porter knows by name, with what each must be fed. `porter "
    "zoo` lists them, and `porter inspect` says which a file looks like (docs/zoo.md).",
}


def entry(word: str) -> str:
    """A word with its meaning. Raises UsageError for a word that is not here."""
    name = word.lower().replace("_", " ").replace("-", " ").removeprefix("×")
    if name not in WORDS:
        close = difflib.get_close_matches(name, WORDS)
        raise UsageError(
            f"the glossary has no '{word}'",
            hint=f"similar words: {', '.join(close)}" if close else "`porter help` lists all words",
        )
    return f"{name}: {WORDS[name]}"


def as_markdown() -> str:
    """`docs/glossary.md`."""
    rows = "\n\n".join(f"**{word}**: {text}" for word, text in WORDS.items())
    return (
        "# Glossary\n\n"
        "Generated by `make coverage` from `porter/cli/glossary.py`; `porter help WORD` prints an "
        f"entry.\n\n{rows}\n"
    )
