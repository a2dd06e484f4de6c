"""What a runtime's error says, in one line.

TensorFlow puts the place before the cause, and both between lines of its own; the sentences that a
port's checks of sizes raise stand in brackets behind "assertion failed".
"""

from __future__ import annotations

import re

FRAME = ("Graph execution error", "Detected at node", "<stack traces unavailable>")
"""How lines begin that tell no cause."""
ASSERTION = re.compile(r"assertion failed: \[([^\]]*)\]")
PLACE = re.compile(r"\s*\[(\[\{\{|Op:).*$")


def cause(error: BaseException) -> str:
    """The line of an error's text that says what is wrong; its class where there is no text."""
    lines = [
        line
        for line in str(error).splitlines()
        if line and not line[0].isspace() and not line.startswith(FRAME)
    ]
    first = PLACE.sub("", next(iter(lines), "")).strip()
    asserted = ASSERTION.search(first)
    return (asserted[1] if asserted else first) or type(error).__name__
