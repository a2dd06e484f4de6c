"""Every kind of work once, in the Python that runs this file: what `tools/check_versions.py` runs.

    cd EMPTY_FOLDER && ENVIRONMENT/bin/python …/tools/smoke.py

The files that it writes lie in the current folder. Exits with 1 at the first command that fails.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
CHECKED = 50
"""Fixtures that are checked, of all classes alike."""


def commands() -> list[list[str | Path]]:
    """The command lines, without `porter`."""
    from porter.emit.formats import HOMES

    formats = [name for name in HOMES if name != "coreml" or find_spec("coremltools")]

    lenet, oilpaint = FIXTURES / "trained" / "digits_lenet", FIXTURES / "trained" / "oilpaint"
    style, photo = FIXTURES / "styles" / "strokes.png", oilpaint / "coffee.png"
    descriptor = FIXTURES / "descriptors" / "slim_vgg16.npz"
    recorded = sorted((FIXTURES / "layers").glob("*/*.t7"))
    kinds = ["--weights", "npz,safetensors,h5", "--tflite", "float32,float16,dynamic"]
    shared: list[str | Path] = ["--style", style, "--descriptor", descriptor, "--image-size", "48"]
    shape = ["--image-size", "32", "--slim", "4", "--num-iterations", "1"]
    generator: list[str | Path] = [style, "--data", oilpaint, "--descriptor", descriptor]
    return [
        ["inspect", FIXTURES / "formats" / "checkpoint.t7"],
        ["convert", lenet / "model.t7", "--format", ",".join(formats), *kinds, "-o", "lenet"],
        ["convert", oilpaint / "model.t7", "--trainable", "-o", "oilpaint"],
        ["diff", lenet / "model.t7", "lenet", "--report", "report.html"],
        ["stylize", "oilpaint", photo, "--image-size", "64", "-o", "pictures"],
        ["stylize", oilpaint / "model.t7", photo, "--image-size", "64", "-o", "more"],
        ["train", "--model", "johnson", "--style-image", *generator, *shape, "-o", "run"],
        ["transfer", "--evaluations", "2", "--content", photo, *shared, "-o", "picture.png"],
        ["check", *recorded[:: len(recorded) // CHECKED][:CHECKED]],
        ["check", FIXTURES / "nets" / "lenet_mm_tanh", "--junit", "checked.xml"],
        ["record", "-o", "record.lua"],
        ["layers"],
        ["completion", "bash"],
    ]


def main() -> int:
    import porter
    from porter.cli.main import main as run

    print(f"Python {sys.version.split()[0]}, porter in {Path(porter.__file__).parent}")
    for words in commands():
        line = [str(word) for word in words]
        print("$ porter", *line[:6], "…" if len(line) > 6 else "", flush=True)
        code = run(line)
        if code:
            print(f"exit code {code}", file=sys.stderr)
            return 1
    print(f"{len(commands())} commands passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
