"""Prove the versions of pyproject.toml: install the lowest and the newest, run the smoke suite.

    python tools/check_versions.py [oldest] [newest] [--keep FOLDER] [--where-possible]

An environment gets the wheel that is built from the source archive, with all that is optional but
PyTorch and JAX, and runs `tools/smoke.py`; then it runs those tests in the unpacked archive that
read and write files. Needs uv (`pip install uv`), and the Pythons on PATH or in pyenv: none is
downloaded. With `--where-possible` an environment whose Python is missing is named and left out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = {"oldest": ("3.10", "lowest-direct"), "newest": ("3.13", "highest")}
"""Python, and which versions uv takes of what pyproject.toml names."""
TESTS = (
    *("tests/test_namespace.py", "tests/system/test_atomic.py"),
    *("tests/torch7/test_reader.py", "tests/torch7/test_reader_formats.py"),
    *("tests/emit/test_keras_files.py", "tests/imaging", "tests/apps/stylize/test_video.py"),
)
"""The tests that are run in the unpacked source archive: files of every library that reads any."""
PATIENCE = 900
"""Seconds after which a command is ended: one that waits for a network waits for ever."""


def run(*words: object, folder: Path = ROOT) -> None:
    """Run a command; ends this one where it fails."""
    print("$", *words, flush=True)
    if code := exit_code(*words, folder=folder):
        sys.exit(f"exit code {code}: {words[0]} {words[1]}")


def exit_code(*words: object, folder: Path = ROOT) -> int:
    """Run a command as it runs outside of any environment, with the Pythons of pyenv."""
    path = os.pathsep.join([os.environ["PATH"], *pyenv()])
    environment = {**os.environ, "PATH": path, "UV_PYTHON_DOWNLOADS": "never"}
    for name in ("PYTHONPATH", "VIRTUAL_ENV", "PYENV_VERSION"):
        environment.pop(name, None)
    command = [str(word) for word in words]
    try:
        done = subprocess.run(command, cwd=folder, env=environment, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        sys.exit(f"no end after {PATIENCE} s: {' '.join(command)}")
    return done.returncode


def pyenv() -> list[str]:
    """Where pyenv keeps its Pythons; its shims on PATH run the chosen one only."""
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return [str(path) for path in sorted(home.glob("versions/*/bin"))]


def check(name: str, folder: Path) -> None:
    """Build, install and run in one environment."""
    python, resolution = ENVIRONMENTS[name]
    place = folder / name
    binary = place / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    run("uv", "build", "--quiet", "--out-dir", place / "dist")
    archive, wheel = (next((place / "dist").glob(ending)) for ending in ("*.tar.gz", "*.whl"))
    run("uv", "venv", "--quiet", "--python", python, place / "env")
    install = ["uv", "pip", "install", "--quiet", "--python", binary]
    run(*install, "--resolution", resolution, "--requirements", "pyproject.toml", "--extra", "test")
    run(*install, "--no-deps", wheel)
    run("uv", "pip", "check", "--python", binary)
    run("uv", "pip", "list", "--python", binary)
    work = place / "work"
    work.mkdir()
    run(binary, ROOT / "tools" / "smoke.py", folder=work)
    with tarfile.open(archive) as content:
        content.extractall(place / "source", filter="data")
    (source,) = (place / "source").iterdir()
    run(binary, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS, folder=source)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    options.add_argument("names", nargs="*", metavar="NAME", help="oldest, newest (default: both)")
    options.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the environments here")
    options.add_argument("--where-possible", action="store_true", help="skip missing Pythons")
    chosen = options.parse_args()
    if unknown := [name for name in chosen.names if name not in ENVIRONMENTS]:
        options.error(f"there is no environment {unknown[0]}")
    if shutil.which("uv") is None:
        sys.exit("uv is needed: pip install uv")
    outcomes = []
    for name in chosen.names or ENVIRONMENTS:
        python, _ = ENVIRONMENTS[name]
        if chosen.where_possible and exit_code("uv", "python", "find", python):
            outcomes.append(f"{name} was left out: there is no Python {python}")
            continue
        if chosen.keep is not None:
            check(name, chosen.keep.resolve())
        else:
            with tempfile.TemporaryDirectory() as folder:
                check(name, Path(folder))
        outcomes.append(f"{name} passed on Python {python}")
    print(*outcomes, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
