"""A disk that is full under each command that writes: one error, exit code 2, nothing half-written.

The disk is a file system in memory, which only root may mount. Files that grow no further are
another way to it, and random: `python -m tests.kills disk`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from porter.cli import main as cli
from tests.build import FIXTURES, conv, sequential
from tests.write_t7 import write_t7

LENET = FIXTURES / "trained" / "digits_lenet" / "model.t7"
PHOTO, STYLE = FIXTURES / "trained" / "oilpaint" / "coffee.png", FIXTURES / "styles" / "strokes.png"
DESCRIPTOR = ("--descriptor", FIXTURES / "descriptors" / "slim_vgg16.npz")
FORMATS = (
    *("saved_model", "checkpoint", "keras", "tflite"),
    *("source", "frozen", "onnx", "web", "weights"),
    *(["coreml"] if find_spec("coremltools") else []),
)
KINDS = ("npz", "safetensors", "h5")
PAGE = 4096
CONVERT, STYLIZE = ("convert", LENET), ("stylize", "{net}", PHOTO, "--preset", "plain")
SMALL = ("--image-size", 32)
TRANSFER = ("transfer", "--content", PHOTO, "--style", STYLE, *DESCRIPTOR, *SMALL)
TEXTURE = ("--style-layers", "relu1_1", "--steps", 1, "--size", "32x32")

Disk = Callable[[int], Path]


@pytest.fixture
def disk(mount: Callable[[str], Path]) -> Disk:
    """A file system of its own with so many free pages."""

    def of_pages(free: int) -> Path:
        folder = mount(f"size={(free + 1) * PAGE}")
        (folder / "filler").write_bytes(b"x" * PAGE)
        return folder

    return of_pages


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return write_t7(tmp_path / "net.t7", sequential(conv(3, 3, 3)))


def run_on(disk: Path, words: tuple[object, ...], net: Path) -> int:
    places = {"disk": disk, "net": net, "beside": net.parent}
    return cli.main([str(word).format_map(places) for word in words])


def require_one_error(error: str) -> None:
    assert error.count("error: ") == 1
    assert "No space left on device" in error
    assert "the disk is full" in error
    assert "Traceback" not in error


WRITERS: dict[str, tuple[object, ...]] = {
    **{each: (*CONVERT, "--format", each, "-o", "{disk}/port") for each in FORMATS},
    "convert --report": (*CONVERT, "--format", "weights", "--report", "html", "-o", "{disk}/port"),
    "convert --tensorboard": (
        *(*CONVERT, "--format", "weights", "-o", "{beside}/port"),
        *("--tensorboard", "{disk}/board"),
    ),
    **{f"weights {kind}": ("weights", LENET, "-o", f"{{disk}}/weights.{kind}") for kind in KINDS},
    "diff --report": ("diff", "{net}", "{net}", "--report", "{disk}/page.html"),
    "inspect --html": ("inspect", "{net}", "--html", "{disk}/page.html"),
    "inspect --svg": ("inspect", "{net}", "--svg", "{disk}/drawing.svg"),
    "stylize": (*STYLIZE, *SMALL, "-o", "{disk}/picture.png"),
    "transfer": (*TRANSFER, "--evaluations", 2, "-o", "{disk}/picture.png"),
    "transfer --curve": (
        *(*TRANSFER, "--evaluations", 2),
        *("-o", "{beside}/picture.png", "--curve", "{disk}/curve.png"),
    ),
    "synthesize": (
        *("synthesize", "--style-image", STYLE, *DESCRIPTOR, *TEXTURE),
        *("-o", "{disk}/picture.png"),
    ),
    "scaffold": ("scaffold", "nn.SpatialConvolution", "--from", "{net}", "-o", "{disk}/map.py"),
    "record": ("record", "-o", "{disk}/record.lua"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_told_and_nothing_is_left(
    name: str, disk: Disk, net: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    disk = disk(0)
    assert run_on(disk, WRITERS[name], net) == 2
    require_one_error(capfd.readouterr().err)
    assert [path.name for path in disk.iterdir()] == ["filler"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("free", [3, 7])
def test_a_disk_that_ends_inside_the_weights(
    kind: str, free: int, disk: Disk, net: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """HDF5 meets the end when it closes the file."""
    disk = disk(free)
    assert run_on(disk, WRITERS[f"weights {kind}"], net) == 2
    require_one_error(capfd.readouterr().err)
    assert [path.name for path in disk.iterdir()] == ["filler"]


@pytest.mark.parametrize("free", [0, 1])
def test_a_training_that_the_disk_ends_can_go_on(
    free: int, disk: Disk, net: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What it keeps is whole; the log of events may end anywhere."""
    disk, run = disk(free), ("--num-iterations", 1, "--slim", 8)
    data = ("--style-image", STYLE, "--data", PHOTO.parent)
    words = ("train", "--model", "johnson", *data, *DESCRIPTOR, *SMALL, *run, "-o", "{disk}/run")
    assert run_on(disk, words, net) == 2
    require_one_error(capfd.readouterr().err)
    kept = {path.name for path in (disk / "run").iterdir()}
    assert kept <= {"training.json", "events"}
    assert all(path.read_text().endswith("}\n") for path in disk.rglob("*.json"))
