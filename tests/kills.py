"""Kill commands at random moments, end the disk under them: what is left?

    python -m tests.kills [KIND …] [--runs N] [--seed N]

KIND is convert, train, transfer or stylize (killed by SIGKILL and SIGTERM in turns); disk: no file
of theirs can grow further than a random size; or crowd: eight conversions at once, into one folder
and into eight.
Whatever is there under the output's name must be whole, exit codes must be the documented ones, and
the next run must end well and leave nothing hidden. Processes are forked from one that has imported
TensorFlow already, so that the moments lie in porter's own work. Needs a system with fork.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from porter.system.checksums import check, read_manifest
from porter.torch7 import TorchObject
from porter.torch7.build import Modules
from porter.torch7.writer import write_t7

FIXTURES = Path(__file__).parents[1] / "fixtures"
STYLE, PHOTOS = FIXTURES / "styles" / "strokes.png", FIXTURES / "trained" / "oilpaint"
DESCRIPTOR = FIXTURES / "descriptors" / "slim_vgg16.npz"
PATIENCE = 900
"""Seconds after which a run that does not end is a finding."""
ENDED = {0, 143, -signal.SIGTERM, -signal.SIGKILL}
"""Exit codes of runs that were killed, or were faster; a signal may come before porter listens."""


class Broken(Exception):
    """What was left is not what is promised. Not an assert: `python -O` drops those."""


def require(condition: bool, what: object) -> None:
    if not condition:
        raise Broken(str(what))


@dataclass
class Work:
    """A command, its output, and how a whole output is told from half a one."""

    words: list[object]
    output: Path
    whole: Callable[[Path], None]
    fresh: bool = False
    """Whether the output of a finished run is removed: the next would have nothing to do."""


def whole_port(port: Path) -> None:
    """A port with every file of its manifest, unchanged."""
    manifest = read_manifest(port)
    check(port, manifest["files"])
    require(
        {path.name for path in port.iterdir() if path.is_dir()} == set(manifest["formats"]), port
    )


def whole_picture(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def whole_pictures(folder: Path) -> None:
    for path in folder.iterdir():
        if not path.name.startswith("."):
            whole_picture(path)


def whole_run(folder: Path) -> None:
    """What a training that ended left: a model that is read and the port of it."""
    from porter.frontend.model_file import open_model
    from porter.layer_maps import default_registry

    for path in folder.rglob("*.t7"):
        open_model(path, default_registry())
    for manifest in folder.rglob("manifest.json"):
        whole_port(manifest.parent)
    for picture in folder.rglob("*.png"):
        whole_picture(picture)


def small_net() -> TorchObject:
    modules = Modules(seed=1)
    return modules.sequential(modules.convolution(3, 3, 3))


def works(folder: Path) -> dict[str, Work]:
    """The four commands on small nets."""
    net = write_t7(folder / "net.t7", small_net())
    shape = ("--image-size", 32, "--slim", 8, "--num-iterations", 3, "--save-every", 1)
    base = ("--style-image", STYLE, "--data", PHOTOS, "--descriptor", DESCRIPTOR)
    look = ("--style", STYLE, "--descriptor", DESCRIPTOR, "--image-size", 32, "--evaluations", 3)
    port, run, picture, pictures = (
        folder / name / "output" for name in ("convert", "train", "transfer", "stylize")
    )
    picture = picture.with_suffix(".png")
    coffee, size = PHOTOS / "coffee.png", ("--image-size", 64, "--preset", "plain")
    return {
        "convert": Work(["convert", net, "-o", port, "--force"], port, whole_port),
        "train": Work(
            ["train", "--model", "johnson", *base, *shape, "-o", run], run, whole_run, fresh=True
        ),
        "transfer": Work(
            ["transfer", "--content", coffee, *look, "-o", picture, "--force"],
            picture,
            whole_picture,
        ),
        "stylize": Work(
            ["stylize", net, coffee, STYLE, *size, "-o", pictures, "--force"],
            pictures,
            whole_pictures,
        ),
    }


def started(words: list[object], temporary: Path, prepare: Callable[[], None] | None = None) -> int:
    """`porter` in a forked process with its own temporary folder; its id."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(os.open(temporary / "errors", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        from porter.cli.main import main as run

        if prepare is not None:
            prepare()
        code = run([str(word) for word in words])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """The exit code of a process, negative for a signal. Raises Broken if it does not end."""
    code = ended_within(child, PATIENCE)
    if code is None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise Broken("a run did not end")
    return code


def ended_within(child: int, seconds: float) -> int | None:
    """The same; None if the process is still at work then."""
    limit = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > limit:
            return None
        time.sleep(0.02)


def hidden(*folders: Path) -> list[str]:
    """What porter's runs left in these folders."""
    return [path.name for folder in folders for path in folder.iterdir() if path.name[0] == "."]


def errors(temporary: Path) -> str:
    return (temporary / "errors").read_text(encoding="utf-8", errors="replace")


def finished(work: Work, temporary: Path) -> float:
    """Run a command to its end; the seconds that it took. Raises Broken unless all is well."""
    if work.fresh:
        shutil.rmtree(work.output, ignore_errors=True)
    begin = time.monotonic()
    code = ended(started(work.words, temporary))
    require(code == 0, f"exit code {code} of a run that nobody disturbed: {errors(temporary)}")
    work.whole(work.output)
    require(hidden(work.output.parent) == [], hidden(work.output.parent))
    return time.monotonic() - begin


def kill(work: Work, runs: int, chance: random.Random, temporary: Path) -> dict[str, int]:
    """Kill a command at random moments; how often it was ended how."""
    seconds = finished(work, temporary)
    ends: dict[str, int] = {}
    for turn in range(runs):
        sent = (signal.SIGKILL, signal.SIGTERM)[turn % 2]
        before = hidden(work.output.parent)
        child = started(work.words, temporary)
        code = ended_within(child, chance.uniform(0, 1.1) * seconds)
        if code is None:
            os.kill(child, sent)
            code = ended(child)
        require(code in ENDED, f"exit code {code} after {sent.name}: {errors(temporary)}")
        if work.output.exists():
            work.whole(work.output)
        if code == 143:
            # What SIGKILL left before may still be there: a run sweeps when it begins to write.
            left = set(hidden(work.output.parent)) - set(before)
            require(not left, f"SIGTERM left {left}")
        if code == 0 and work.fresh:
            shutil.rmtree(work.output)
        name = "finished" if code == 0 else sent.name
        ends[name] = ends.get(name, 0) + 1
    # A killed training goes on where it was, anything else begins anew.
    code = ended(started(work.words, temporary))
    require(code == 0, f"exit code {code} after kills: {errors(temporary)}")
    work.whole(work.output)
    require(hidden(work.output.parent) == [], hidden(work.output.parent))
    return ends


class LastBytes:
    """A disk that is full after so many bytes: no file grows further than that.

    A limit on the size of each file is what every user may set: RLIMIT_FSIZE, with its signal
    ignored, so that a write fails with an error as on a full disk.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.count, self.count))


def fill(work: Work, runs: int, chance: random.Random, temporary: Path) -> dict[str, int]:
    """Let a command's files end at random sizes; how often it ended how."""
    finished(work, temporary)
    sizes = [path.stat().st_size for path in [work.output, *work.output.rglob("*")]]
    ends: dict[str, int] = {}
    for _ in range(runs):
        if work.fresh:
            shutil.rmtree(work.output, ignore_errors=True)
        limit = LastBytes(chance.randrange(max(sizes)))
        code = ended(started(work.words, temporary, limit))
        require(code in (0, 2), f"exit code {code} at {limit.count} bytes: {errors(temporary)}")
        require("Traceback" not in errors(temporary), errors(temporary))
        if work.output.exists() and not (work.fresh and code):
            work.whole(work.output)
        require(hidden(work.output.parent) == [], hidden(work.output.parent))
        ends[f"exit code {code}"] = ends.get(f"exit code {code}", 0) + 1
    finished(work, temporary)
    return ends


CROWD = 8


def crowd(folder: Path, runs: int, temporary: Path) -> dict[str, int]:
    """Convert eight times at once, into one folder and into eight; how often runs ended how.

    Of those into one folder each replaces what is there.
    """
    net, parent = write_t7(folder / "net.t7", small_net()), folder / "crowd"
    parent.mkdir()
    ends: dict[str, int] = {}
    for name, different in [("one folder", False), ("eight folders", True)] * runs:
        ports = [parent / f"port{number if different else ''}" for number in range(CROWD)]
        places = [temporary / str(number) for number in range(CROWD)]
        children = []
        for port, place in zip(ports, places, strict=True):
            place.mkdir(exist_ok=True)
            children.append(started(["convert", net, "-o", port, "--force"], place))
        codes = [ended(child) for child in children]
        shown = [errors(place) for place in places]
        require(codes == [0] * CROWD, f"exit codes {codes} into {name}: {shown}")
        for port in set(ports):
            whole_port(port)
        require(hidden(parent) == [], hidden(parent))
        ends[name] = ends.get(name, 0) + CROWD
    return ends


KINDS = ("convert", "train", "transfer", "stylize", "disk", "crowd")


def run(kinds: list[str], runs: int, seed: int, folder: Path) -> dict[str, dict[str, int]]:
    """Run all kinds in `folder`. Raises Broken at the first finding."""
    temporary = folder / "temporary"
    temporary.mkdir()
    ends: dict[str, dict[str, int]] = {}
    commands = works(folder)
    for work in commands.values():
        work.output.parent.mkdir()
    for kind in kinds:
        chance = random.Random(f"{kind} {seed}")
        if kind == "crowd":
            ends[kind] = crowd(folder, runs, temporary)
        elif kind == "disk":
            for name, work in commands.items():
                ends[f"disk of {name}"] = fill(work, runs, chance, temporary)
        else:
            ends[kind] = kill(commands[kind], runs, chance, temporary)
        print(kind, ends, flush=True)
    return ends


def main() -> int:
    import tensorflow  # noqa: F401  (before the forks; nothing is computed in this process)

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], metavar="KIND")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(options.kinds or list(KINDS), options.runs, options.seed, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
