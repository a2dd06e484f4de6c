"""Fuzz every other kind of input file: bytes of a small sound one are changed, and it is read.

    python -m tests.fuzz.fuzz_inputs KIND [KIND …] [--runs N] [--seed N] [--keep FOLDER]

A file may be accepted or refused with a PorterError; any other exception is a finding. So is a
crash of a library written in C: it ends the run with a traceback and leaves the case in FOLDER.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import random
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from porter.errors import PorterError
from tests.fuzz.harness import HANG_SECONDS, MEMORY_BYTES, STOP_SECONDS, loop

Read = Callable[[Path], object]
Kind = tuple[Path, Read]
"""A sound file, and the reader of its kind."""

PRESET = """name = "fuzzed"
median_filter = 3
labels = ["cat", "dog"]
[input]
channels = "BGR"
range = [0, 255]
mean = [1.5, 2, 3e1]
std = [1, 1, 1]
[output]
channels = "RGB"
range = [-1, 1]
"""
RECIPE = """style_layers = {relu1_1 = 1, relu2_1 = 0.5}
content_weight = 1e1
scales = [0.5, 1.0]
evaluations = 3
bounded = true
optimizer = "adam"
"""
CHECKS = """[models."a/*.t7"]
isolated = 1e-4
formats = ["keras"]
bn = "train"
status = "pass"
differs = ["1.2"]
sha256 = "00"
"""


def descriptor(path: Path) -> object:
    """A descriptor of the first layer, with its weights."""
    from porter.apps.transfer.source import Opening
    from porter.apps.transfer.sources import open_file

    source = open_file(path, Opening())
    layers = [name for name in ("relu1_1", "block1_conv1") if name in source.names]
    return source.build(layers[:1], "as-saved", "as-saved", "float32") if layers else source.what


def prototxt(path: Path) -> object:
    from porter.apps.transfer.sources.caffe_file import read_prototxt, type_of

    return [type_of(layer) for layer in read_prototxt(path)]


def recording(path: Path) -> object:
    from porter.parity.recording import read

    return read(path)


def state(path: Path) -> object:
    from porter.apps.transfer.run import load

    return load(path, {"a": 1})


def preset(path: Path) -> object:
    from porter.imaging.presets import read_preset

    return read_preset(str(path))


def recipe(path: Path) -> object:
    from porter.apps.transfer.recipe import read_recipe

    return read_recipe(str(path))


def checks(path: Path) -> object:
    from porter.apps.check.expectations import read_toml

    return read_toml(path)


def manifest(path: Path) -> object:
    from porter.apps.stylize.loading import described
    from porter.system import checksums

    described(path.with_name("model.keras"))
    return checksums.read_manifest(path.parent)


def report(path: Path) -> object:
    from porter.report.drift import read

    return read(path)


def keras(path: Path) -> object:
    from porter.emit.keras_files import require_known

    return require_known(path)


def photo(path: Path) -> object:
    from porter.imaging.photos import read_image

    return read_image(path)


def kind(name: str, folder: Path) -> Kind:
    """A sound file in `folder`, and its reader."""
    from tests.apps.transfer import files

    folder.mkdir(parents=True, exist_ok=True)
    if name in ("npz", "npy", "h5", "caffemodel"):
        write = {
            "npz": files.npz,
            "npy": files.npy,
            "h5": files.keras_weights,
            "caffemodel": files.caffe_v1,
        }[name]
        return write(folder), descriptor
    if name == "prototxt":
        return min(files.caffe_v1(folder).parent.glob("*.prototxt")), prototxt
    if name in ("recording", "state"):
        path = folder / f"{name}.npz"
        arrays = {
            "input": np.ones((1, 2)),
            "output": np.ones(2),
            "1": np.ones(2),
            "1#2": np.ones(2),
        }
        if name == "state":
            arrays = {
                "identity": np.array('{"a": 1}'),
                "history": np.ones((2, 5)),
                **{each: np.array(1.0) for each in ("scale", "best_loss", "best_step", "steps")},
                **{each: np.ones((2, 2)) for each in ("image", "best", "first", "second")},
            }
        np.savez(path, **arrays)  # type: ignore[arg-type]
        return path, recording if name == "recording" else state
    texts: dict[str, tuple[str, str, Read]] = {
        "preset": ("preset.toml", PRESET, preset),
        "recipe": ("recipe.toml", RECIPE, recipe),
        "checks": ("porter.toml", CHECKS, checks),
        "manifest": ("manifest.json", manifest_text(), manifest),
        "report": ("report.json", report_text(), report),
    }
    if name in texts:
        file, text, read = texts[name]
        (folder / file).write_text(text)
        return folder / file, read
    if name == "keras":
        import h5py

        dense = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 3}}
        body = {"class_name": "Sequential", "config": {"layers": [dense]}}
        with h5py.File(folder / "model.h5", "w") as file5:
            file5.attrs["model_config"] = json.dumps(body)
            file5["a/b"] = np.ones(3)
        return folder / "model.h5", keras
    from PIL import Image

    path = folder / f"photo.{name}"
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3) % 251).save(path)
    return path, photo


def manifest_text() -> str:
    from porter.imaging.geometry import Geometry
    from porter.imaging.image_spec import ImageSpec
    from porter.imaging.presets import find

    entry = {"torch_shape": [None, 3, 8, 8], "torch_axes": [0, 3, 1, 2], "dtype": "float32"}
    spec = ImageSpec(find("plain"), Geometry(), "asked for")
    body = {"signature": {"input": entry}, "files": {"a": "00"}, "data_format": "channels_last"}
    return json.dumps(body | {"pictures": spec.json()})


def report_text() -> str:
    from porter.report.drift import KINDS

    entry = {"path": "a.t7", "status": "pass", **dict.fromkeys(KINDS, 1e-5)}
    return json.dumps({"results": [entry]})


KINDS = (
    *("npz", "npy", "h5", "caffemodel", "prototxt", "recording", "state", "keras"),
    *("preset", "recipe", "checks", "manifest", "report"),
    *("png", "jpg", "webp", "bmp", "tif", "gif"),
)
INTERESTING = (0, 1, 127, 128, 255)


def mutated(sound: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, removed, doubled or moved, most of them at either end."""
    data = bytearray(sound)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        near = min(len(data), 1024)
        at = chance.choice(
            (chance.randrange(near), chance.randrange(len(data)), -chance.randint(1, near))
        )
        at %= len(data)
        length = chance.choice((1, 1, 2, 4, 8, 64))
        match chance.randrange(6):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at] = chance.choice(INTERESTING)
            case 2:
                data[at] = chance.randrange(256)
            case 3 if len(data) > length + 1:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length]
            case _:
                other = chance.randrange(len(data))
                data[at : at + length] = data[other : other + length]
        if not data:
            data = bytearray(b"\0")
    return bytes(data if chance.random() > 0.05 else data[: chance.randrange(1, len(data) + 1)])


def run(
    name: str,
    runs: int,
    seed: int,
    folder: Path,
    keep: Path,
    hang_seconds: float = STOP_SECONDS,
) -> int:
    """Fuzz one kind; the number of findings."""
    path, read = kind(name, folder / name)
    sound, chance = path.read_bytes(), random.Random(f"{name} {seed}")
    read(path)

    def one(data: bytes) -> bool:
        path.write_bytes(data)
        try:
            read(path)
        except PorterError as error:
            str(error)
            return False
        return True

    def cases() -> Iterator[bytes]:
        for _ in range(runs):
            yield mutated(sound, chance)

    print(f"{name}: ", end="")
    findings = loop(one, cases(), f"{name}-{seed}", keep, hang_seconds)
    path.write_bytes(sound)
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], metavar="KIND")
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(), help="folder for bad cases")
    options = parser.parse_args()
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with tempfile.TemporaryDirectory(dir=options.keep) as folder:
        findings = [
            run(name, options.runs, options.seed, Path(folder), options.keep, HANG_SECONDS)
            for name in options.kinds or KINDS
        ]
    return 1 if any(findings) else 0


if __name__ == "__main__":
    sys.exit(main())
