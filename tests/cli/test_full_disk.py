"""A disk that is full under each command that writes: one error, exit code 2, nothing half-written.

The disk is a file system in memory, which only root may mount. Files that grow no further are
another way to it, and random: `python -m tests.kills disk`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
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
)
KINDS = ("npz", "safetensors", "h5")
PAGE = 4096
CONVERT, STYLIZE = ("convert", LENET), ("stylize", "{net}", PHOTO, "--preset", "plain")
SMALL = ("--image-size", 32)
TRANSFER = ("transfer", "--content", PHOTO, "--style", STYLE, *DESCRIPTOR, *SMALL)
TEXTURE = ("--style-layers", "relu1_1", "--steps", 1, "--size", "32x32")

Mount = Callable[[int], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """A file system of its own with so many free pages."""
    folder = tmp_path / "disk"

    def mounted(free: int) -> Path:
        folder.mkdir()
        options = f"size={(free + 1) * PAGE}"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no mount")
        if done.returncode:
            pytest.skip("this user may not mount a file system")
        (folder / "filler").write_bytes(b"x" * PAGE)
        return folder

    yield mounted
    # Lazily: TensorFlow keeps an event file open that it could not write.
    subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


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
    name: str, mount: Mount, net: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    disk = mount(0)
    assert run_on(disk, WRITERS[name], net) == 2
    require_one_error(capfd.readouterr().err)
    assert [path.name for path in disk.iterdir()] == ["filler"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("free", [3, 7])
def test_a_disk_that_ends_inside_the_weights(
    kind: str, free: int, mount: Mount, net: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """HDF5 meets the end when it closes the file."""
    disk = mount(free)
    assert run_on(disk, WRITERS[f"weights {kind}"], net) == 2
    require_one_error(capfd.readouterr().err)
    assert [path.name for path in disk.iterdir()] == ["filler"]


@pytest.mark.parametrize("free", [0, 1])
def test_a_training_that_the_disk_ends_can_go_on(
    free: int, mount: Mount, net: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What it keeps is whole; the log of events may end anywhere."""
    disk, run = mount(free), ("--num-iterations", 1, "--slim", 8)
    data = ("--style-image", STYLE, "--data", PHOTO.parent)
    words = ("train", "--model", "johnson", *data, *DESCRIPTOR, *SMALL, *run, "-o", "{disk}/run")
    assert run_on(disk, words, net) == 2
    require_one_error(capfd.readouterr().err)
    kept = {path.name for path in (disk / "run").iterdir()}
    assert kept <= {"training.json", "events"}
    assert all(path.read_text().endswith("}\n") for path in disk.rglob("*.json"))
