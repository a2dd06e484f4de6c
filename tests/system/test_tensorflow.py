"""Importing TensorFlow through porter leaves the process as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STATE = """
def state():
    import logging, os, sys, warnings
    return [
        {name: text for name, text in os.environ.items() if name.startswith("TF_CPP")},
        os.fstat(2).st_ino,
        sys.getrecursionlimit(),
        len(warnings.filters),
        logging.getLogger("tensorflow").level,
    ]
"""


def run(program: str, **variables: str) -> Any:
    """What a Python program prints as JSON, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", STATE + program],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("variables", [{}, {"TF_CPP_MIN_LOG_LEVEL": "1"}])
def test_the_import_restores_what_it_changes(variables: dict[str, str]) -> None:
    before, after = run(
        "import json; before = state()\n"
        "import porter.system.tensorflow\n"
        "print(json.dumps([before, state()]))",
        **variables,
    )
    assert before[0] == after[0] == variables
    assert before[1:3] == after[1:3]


def test_the_logging_of_a_program_that_has_tensorflow_is_its_own() -> None:
    before, after = run(
        "import json, os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'\n"
        "import tensorflow; tensorflow.get_logger().setLevel('INFO'); before = state()\n"
        "import porter.system.tensorflow\n"
        "print(json.dumps([before, state()]))",
        TF_CPP_MIN_LOG_LEVEL="3",
    )
    assert before == after
