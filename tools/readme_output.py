"""Run the commands of README.md and docs/tour.md; put their output behind them.

`--check` runs them only.

The optional packages are hidden: what is shown needs no more than `make demo` installs.

A block after `<!-- run -->` (or `<!-- run exit=N -->`) starts with one `$ porter ...` line. What it
prints replaces the rest of the block.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PAGES = (ROOT / "README.md", ROOT / "docs" / "tour.md")
BLOCK = re.compile(
    r"(<!-- run(?: exit=(?P<exit>\d))? -->\n```console\n\$ porter (?P<command>[^\n]*)\n)"
    r"(?P<output>.*?)(```\n)",
    re.DOTALL,
)
NEVER = 1e6
"""Seconds between two lines of progress: how many there are depends on the machine."""
LONGEST = 24
"""Lines of output shown; the middle of a longer one is left out."""
OPTIONAL = ("ai_edge_litert", "jinja2", "safetensors", "scipy", "shtab", "tensorboard")


def run(command: str) -> tuple[int, str]:
    """Exit code and output of one command, as on a terminal of 100 columns that is no terminal."""
    from porter.cli import main as cli
    from porter.report import progress

    progress.INTERVAL = NEVER
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            code = cli.main(shlex.split(command))
        except SystemExit as stopped:
            code = int(stopped.code or 0)
    return code, printed.getvalue()


def shortened(text: str) -> str:
    """The first and last lines of a long output, without trailing blanks."""
    lines = [line.rstrip() for line in text.rstrip().splitlines()]
    if len(lines) > LONGEST:
        half = LONGEST // 2
        lines = [*lines[:half], f"… {len(lines) - 2 * half} more lines …", *lines[-half:]]
    return "\n".join(lines) + "\n"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="run the commands, write nothing")
    check = options.parse_args().check
    os.chdir(ROOT)
    os.environ["COLUMNS"] = "100"
    sys.modules.update(dict.fromkeys(OPTIONAL))  # type: ignore[arg-type]
    failures: list[str] = []

    def renew(block: re.Match[str]) -> str:
        code, output = run(block["command"])
        if code != int(block["exit"] or 0):
            failures.append(f"porter {block['command']}: exit code {code}\n{output}")
        return f"{block[1]}{shortened(output)}{block[5]}"

    texts = {page: BLOCK.sub(renew, page.read_text(encoding="utf-8")) for page in PAGES}
    if failures:
        print("\n".join(failures), file=sys.stderr)
        return 1
    if not check:
        for page, text in texts.items():
            page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
