"""A Python process that has nothing of this one but the places where packages are found.

`python -I` alone would lose the user's site-packages, PYTHONPATH and what a zipapp adds. The
current folder is left out: what is reloaded must not depend on where it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

START = """
import json, runpy, sys
places, *sys.argv = sys.argv[1:]
places = json.loads(places)
sys.path[:] = [*places, *(place for place in sys.path if place not in places)]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_fresh(script: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a Python file in a fresh process that finds the same packages, and capture its output."""
    places = json.dumps(package_places())
    return subprocess.run(
        [sys.executable, "-I", "-c", START, places, script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def package_places() -> list[str]:
    """The entries of `sys.path`, the current folder apart."""
    places = [os.path.abspath(entry) for entry in sys.path]
    return [place for place in places if os.path.realpath(place) != os.path.realpath(".")]
